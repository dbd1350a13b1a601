"""The Lua functions that the driver of the Keithley 2600B defines in the instrument.

`mtj_in` raises when less than `d` s are left of the script's time, `mtj_due` when a reading would take longer than the
time left, because a reading cannot be aborted; of a channel on another node the script says how long, `k` s, since each
question to that takes its time. `mtj_cold` brings every channel of `mtj_c` to 0 V and then behind its
low limit. A reading and its condition are atomic; beside each reading, and at the end of a script of each channel that
was set up, stand `mtj_on`: whether the output is on, and its level. `mtj_n` counts the `COUNTED_STEPS` that were
carried out, and stands last: a step that was lost on its way shows in no level.
"""

from instruments.timing import RAMP_STEP
from instruments.tsp import number

TOLERANCE = 1e-3
"""Relative difference at which a setting that was read back is not the one that was sent."""

COUNTED_STEPS = ("mtj_to(", "mtj_limit(", "mtj_wait(")
"""Beginnings of the lines of a script whose steps are counted."""

RAMP = (
    "function mtj_ramp(s,d,t) timer.reset() local p=s.source.levelv local n=math.ceil(math.abs(p)/d) "
    "local o,e=pcall(function() for k=1,n-1 do if timer.measure.t()>t then break end "
    f"s.source.levelv=p-p*k/n delay({number(RAMP_STEP)}) end end) "
    "s.source.levelv=0 s.source.output=0 if not o then error(e,0) end end"
)
"""Ramp to 0 V in at most `t` s by the instrument's timer, then off: whether or not the link outlives it.

`off` sends it; it needs no function that was defined before.
"""

_TIME = (
    "function mtj_in(d) if timer.measure.t()+d>mtj_t then "
    'error(string.format("the script takes longer than its %g s",mtj_t),0) end end',
    "mtj_n=0",
    "function mtj_wait(d) mtj_n=mtj_n+1 mtj_in(d) delay(d) end",
    "function mtj_due(s,k) if k then mtj_in(k) return end local m=s.measure "
    "local w=math.max(m.delay,0)+m.nplc/localnode.linefreq "
    "if m.filter.enable>0 then w=w*m.filter.count end mtj_in(w*m.count) end",
)
_STEPS = (
    "function mtj_to(s,v,d) mtj_n=mtj_n+1 mtj_in(0) local p=s.source.levelv local n=math.ceil(math.abs(v-p)/d-1e-9) "
    f"for k=1,n-1 do s.source.levelv=p+(v-p)*k/n mtj_in({number(RAMP_STEP)}) delay({number(RAMP_STEP)}) end "
    "s.source.levelv=v end",
    "function mtj_limit(s,l,r) mtj_n=mtj_n+1 "
    "if r>s.measure.rangei then s.measure.rangei=r s.source.limiti=l else s.source.limiti=l s.measure.rangei=r end "
    f'if math.abs(s.source.limiti-l)>{number(TOLERANCE)}*l then error("current limit not taken") end end',
    "mtj_m=status.measurement.instrument",
)
_READINGS = (
    'function mtj_on(s) return string.format("\\t%d\\t%.9e",s.source.output,s.source.levelv) end',
    "function mtj_w(s) return tostring(s.source.compliance)..mtj_on(s) end",
    "function mtj_i(s,m,k) mtj_due(s,k) local i=s.measure.i() mtj_in(0) "
    'return string.format("%.9e\\t%d",i,m.condition)..mtj_on(s) end',
    "function mtj_iv(s,m,k) mtj_due(s,k) local i,v=s.measure.iv() mtj_in(0) "
    'return string.format("%.9e\\t%.9e\\t%d",i,v,m.condition)..mtj_on(s) end',
)
_ENDS = (
    "function mtj_cold() local k,e=true "
    "for _,c in ipairs(mtj_c) do if c.s.source.levelv~=0 then c.s.source.levelv=0 end end "
    "for _,c in ipairs(mtj_c) do local o,w=pcall(mtj_limit,c.s,c.l,c.r) "
    'if c.s.source.levelv~=0 then o,w=false,"a level does not go to 0 V" end if not o then k,e=o,w end end '
    "if not k then error(e,0) end end",
    "function mtj_proof(r) for _,c in ipairs(mtj_c) do table.insert(r,mtj_w(c.s)) end "
    'table.insert(r,string.format("%d",mtj_n)) end',
    "function mtj_run(t,f) mtj_t=t mtj_n=0 timer.reset() local k,e=pcall(f,mtj_r) "
    "if k then k,e=pcall(mtj_proof,mtj_r) end "
    "local o,w=pcall(mtj_cold) "
    "if not k then error(e,0) end if not o then error(w,0) end end",
)
JOINED_COLD = (
    "function mtj_cold() local k,e=true "
    "for _,c in ipairs(mtj_c) do local o,w=pcall(function() "
    "if c.s.source.levelv~=0 then c.s.source.levelv=0 end end) if not o then k,e=o,w end end "
    "for _,c in ipairs(mtj_c) do local o,w=pcall(mtj_limit,c.s,c.l,c.r) if not o then k,e=o,w end "
    'o,w=pcall(function() if c.s.source.levelv~=0 then error("a level does not go to 0 V",0) end end) '
    "if not o then k,e=o,w end end if not k then error(e,0) end end"
)
"""The end of a script that drives channels of other nodes: one that is not reached keeps none of the others up."""

FUNCTIONS = (" ".join(_TIME + _STEPS), " ".join(_READINGS), " ".join(_ENDS))
"""Messages that define the functions, sent when an instrument is set up, so that a script is short."""
