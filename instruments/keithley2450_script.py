"""The Lua functions that the driver of a 2450, 2460 or 2461 in TSP defines in the instrument.

`mtj_in` raises when less than `d` s are left of a script's time. A reading, and the limit, output and level beside it,
are one call. `mtj_n` counts the `COUNTED_STEPS` that were carried out: a line that was lost on its way shows in no
level. A script that fails ends at 0 V; one that succeeds leaves its level. Lua 5.0.
"""

from instruments.tsp import number
from labctl.core.units import Second

RAMP_STEP: Second = 1e-3
"""Wait between the small steps of a ramp."""

COUNTED_STEPS = ("mtj_to(", "mtj_limit(", "mtj_wait(")
"""Beginnings of the lines of a script whose steps are counted."""

FUNCTIONS = (
    "mtj_n=0 mtj_t=1e9 function mtj_in(d) if timer.gettime()+d>mtj_t then "
    'error(string.format("the script takes longer than its %g s",mtj_t),0) end end '
    "function mtj_wait(d) mtj_n=mtj_n+1 mtj_in(d) delay(d) end "
    "function mtj_to(v,d) mtj_n=mtj_n+1 mtj_in(0) local p=smu.source.level local n=math.ceil(math.abs(v-p)/d-1e-9) "
    f"for k=1,n-1 do smu.source.level=p+(v-p)*k/n mtj_in({number(RAMP_STEP)}) delay({number(RAMP_STEP)}) end "
    "smu.source.level=v end",
    "function mtj_limit(l,r) mtj_n=mtj_n+1 local s,m=smu.source.ilimit,smu.measure "
    "if r>=m.range then s.level=l m.range=r else m.range=r s.level=l end "
    'if math.abs(s.level-l)>1e-3*l or math.abs(m.range-r)>1e-3*r then error("current limit not taken") end end',
    'function mtj_on() return string.format("\\t%d\\t%.9e",smu.source.output==smu.ON and 1 or 0,smu.source.level) end '
    "function mtj_c() return smu.source.ilimit.tripped==smu.ON and 2 or 0 end "
    "function mtj_w() return tostring(mtj_c()>0)..mtj_on() end "
    "function mtj_i(w) mtj_in(w) local i=smu.measure.read(defbuffer1) local c=mtj_c() mtj_in(0) "
    'return string.format("%.9e\\t%d",i,c)..mtj_on() end '
    "function mtj_iv(w) mtj_in(w) smu.source.readback=smu.ON local i=smu.measure.read(defbuffer1) local c=mtj_c() "
    "local v=defbuffer1.sourcevalues[defbuffer1.n] smu.source.readback=smu.OFF mtj_in(0) "
    'return string.format("%.9e\\t%.9e\\t%d",i,v,c)..mtj_on() end',
    "function mtj_run(t,f) mtj_t=t mtj_n=0 timer.cleartime() local k,e=pcall(f,mtj_r) "
    "if k then table.insert(mtj_r,mtj_w()) table.insert(mtj_r,string.format('%d',mtj_n)) mtj_t=1e9 return end "
    "smu.source.level=0 mtj_t=1e9 error(e,0) end",
)
"""Messages that define the functions, sent when an instrument is set up."""
