"""The Lua side of the sandbox: guards of a chunk, and the environment that it gets instead of the real one."""

HOST = r"""
local poll, judge, step, leave, slow = ...
local raw_pcall, raw_error, raw_loadstring = pcall, error, loadstring
local type, setmetatable, tostring, pairs = type, setmetatable, tostring, pairs
local rawget, setfenv, ipairs, unpack, next = rawget, setfenv, ipairs, unpack, next
local rep, len, sethook = string.rep, string.len, debug.sethook
local killed
local function hook()
  killed = killed or poll(step)
  if killed then raw_error(killed, 0) end
end
local function check(ok, ...)
  if killed then raw_error(killed, 0) end
  return ok, ...
end
local function finish(fatal, ...)
  if killed then raw_error(killed, 0) end
  if fatal then raw_error(fatal, 2) end
  return ...
end
-- functions of C, which no hook can interrupt, begin only while the script may go on
local function tick()
  killed = killed or poll(0)
  if killed then raw_error(killed, 0) end
end
local function guard(...)
  tick()
  local how, reason = judge(...)
  if reason then raw_error(reason, 3) end
  return how
end
local host, ids = {}, setmetatable({}, {__mode = "k"})

function pcall(f, ...) return check(raw_pcall(f, ...)) end
-- the handler runs after unwinding: inside the hook's own error it would be out of the hook's reach
local function handled(h, ok, ...)
  if ok then return ok, ... end
  return false, h(...)
end
function xpcall(f, h) return handled(h, check(raw_pcall(f))) end
function host.wrap(py) return function(...) return finish(py(...)) end end
local function wrapped(t)
  for k, v in pairs(t) do
    if type(v) == "userdata" then t[k] = host.wrap(v) end
  end
  return t
end
function host.start() killed = nil; sethook(hook, "", step) end
function host.stop() sethook() end
function host.text(v) return tostring(v) end
function host.id(v) if type(v) == "table" then return ids[v] end end
function host.node(luatype, getters, setters, objects, index, id, deny)
  getters, setters, objects = wrapped(getters), wrapped(setters), wrapped(objects)
  index = index and host.wrap(index)
  local mt = {Getters = getters, Setters = setters, Objects = objects, luatype = luatype}
  local node = {}
  mt.__index = function(_, key)
    local object = objects[key]
    if object ~= nil then return object end
    local getter = getters[key]
    if getter then return getter() end
    if index and type(key) == "number" then return index(key) end
  end
  mt.__newindex = function(_, key, value)
    local setter = setters[key]
    if setter then setter(value) else deny(key, getters[key] ~= nil or objects[key] ~= nil) end
  end
  setmetatable(node, mt)
  ids[node] = id
  return node
end

local find, match, gmatch, gsub = string.find, string.match, string.gmatch, string.gsub
function string.rep(s, n)
  guard("rep", len(s), n + 0)
  return rep(s, n)
end
function string.find(s, p, init, plain)
  local how = guard(plain and "plain" or "find", len(s), p)
  if how == "native" then return find(s, p, init, plain) end
  return slow[how == "counted text" and "plain" or "find"](s, p, init)
end
function string.match(s, p, init)
  if guard("pattern", len(s), p) == "native" then return match(s, p, init) end
  return slow.match(s, p, init)
end
function string.gmatch(s, p)
  if guard("pattern", len(s), p) == "native" then return gmatch(s, p) end
  return slow.gmatch(s, p)
end
function string.gsub(s, p, r, n)
  if guard("pattern", len(s), p) == "native" then return gsub(s, p, r, n) end
  return slow.gsub(s, p, r, n)
end
for _, name in ipairs{"upper", "lower", "reverse"} do
  local f = string[name]
  string[name] = function(s)
    if type(s) == "string" and len(s) > 65536 then tick() end
    return f(s)
  end
end
for _, name in ipairs{"concat", "insert", "remove"} do
  local f = table[name]
  table[name] = function(t, ...)
    if type(t) == "table" and #t > 65536 then tick() end
    return f(t, ...)
  end
end
-- comparing in Lua is counted, and sorting compares quadratically often at worst
local sort = table.sort
local function less(a, b) return a < b end
function table.sort(t, f)
  f = f or less
  return sort(t, function(a, b) return f(a, b) end)
end
string.gfind = string.gmatch
string.dump = nil

-- chunks get their own environment; the real one keeps what the host needs and is out of reach
local env = {string = string, table = table, math = math, _VERSION = "Lua 5.0.2"}
for _, name in ipairs{"assert", "error", "getmetatable", "gcinfo", "ipairs", "next", "pairs", "pcall", "rawequal",
                      "rawget", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack",
                      "xpcall"} do
  env[name] = _G[name]
end
env._G = env
function host.load(text, name, ...)
  local chunk, reason = raw_loadstring(text, name)
  if not chunk then return nil, reason end
  setfenv(chunk, env)
  local bits = {...}
  return function() return chunk(unpack(bits)) end
end
function host.script(t, chunk) return setmetatable(t, {__call = function() return chunk() end}) end
function host.list(t)
  local list, n = {}, 0
  while rawget(t, n + 1) ~= nil do n = n + 1 list[n] = rawget(t, n) end
  return list, n
end
function env.exit() killed = leave raw_error(leave, 0) end
function env.makegetter(t, name) return function() return t[name] end end
function env.makesetter(t, name) return function(value) t[name] = value end end
local strings = {}
env.userstring = {
  add = function(name, value) strings[name .. ""] = value .. "" end,
  get = function(name) return strings[name] end,
  delete = function(name) strings[name] = nil end,
  catalog = function()
    local name
    return function() name = next(strings, name) return name end
  end,
}
function host.each(f, s, v)
  if type(f) == "table" then return next, f end
  return f, s, v
end
host.env = env
return host
"""
