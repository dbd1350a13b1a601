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
-- comparing in Lua is counted, and sorting compares quadratically often at worst
local sort = table.sort
local function less(a, b) return a < b end
function table.sort(t, f)
  f = f or less
  return sort(t, function(a, b) return f(a, b) end)
end
-- what Lua 5.0 does not have, or has in another way: a table knows its number of entries by its field n, or by a
-- number that was set for it, and texts have no methods
string.gfind = string.gmatch
for _, name in ipairs{"dump", "match", "gmatch", "reverse"} do string[name] = nil end
for _, name in ipairs{"fmod", "huge", "modf", "sinh", "cosh", "tanh"} do math[name] = nil end
debug.setmetatable("", nil)
local sizes, COUNTED = setmetatable({}, {__mode = "k"}), 256
local concat, sort, rawset = table.concat, table.sort, rawset
local function getn(t)
  local n = rawget(t, "n")
  if type(n) == "number" then return n end
  n = sizes[t]
  if n then return n end
  n = 0
  while n < COUNTED and rawget(t, n + 1) ~= nil do n = n + 1 end
  return n < COUNTED and n or #t
end
local function setn(t, n)
  if type(rawget(t, "n")) == "number" then rawset(t, "n", n) else sizes[t] = n end
end
local function checked(t, name)
  if type(t) == "table" then return getn(t) end
  raw_error("bad argument #1 to `" .. name .. "' (table expected, got " .. type(t) .. ")", 3)
end
local function entries(v) return v + 0 end
function table.getn(t) return checked(t, "getn") end
function table.setn(t, n)
  checked(t, "setn")
  setn(t, entries(n))
end
function table.insert(t, ...)
  local n, count = checked(t, "insert") + 1, select("#", ...)
  local at, value = n, ...
  if count > 1 then
    at, value = ...
    at = entries(at)
    if at > n then n = at end
  elseif count == 1 then
    value = ...
  end
  setn(t, n)
  for k = n - 1, at, -1 do t[k + 1] = t[k] end
  t[at] = value
end
function table.remove(t, at)
  local n = checked(t, "remove")
  at = at and entries(at) or n
  if n <= 0 then return end
  setn(t, n - 1)
  local value = t[at]
  for k = at, n - 1 do t[k] = t[k + 1] end
  t[n] = nil
  return value
end
function table.concat(t, separator, first, last)
  local n = checked(t, "concat")
  if n > 65536 then tick() end
  if last == nil or last == 0 then last = n end
  return concat(t, separator, first or 1, last)
end
function table.sort(t, f)
  local n = checked(t, "sort")
  if n == #t then return sort(t, f) end
  local list = {}
  for k = 1, n do list[k] = t[k] end
  sort(list, f)
  for k = 1, n do t[k] = list[k] end
end
function table.foreach(t, f)
  checked(t, "foreach")
  for k, v in next, t do
    local result = f(k, v)
    if result ~= nil then return result end
  end
end
function table.foreachi(t, f)
  for k = 1, checked(t, "foreachi") do
    local result = f(k, t[k])
    if result ~= nil then return result end
  end
end
table.maxn = nil
local raw_unpack, collect = unpack, collectgarbage
local function unpack(t) return raw_unpack(t, 1, checked(t, "unpack")) end
local function collectgarbage()
  tick()
  collect()
end

-- chunks get their own environment; the real one keeps what the host needs and is out of reach
local env = {string = string, table = table, math = math, _VERSION = "Lua 5.0.2"}
for _, name in ipairs{"assert", "error", "getmetatable", "gcinfo", "ipairs", "next", "pairs", "pcall", "rawequal",
                      "rawget", "rawset", "setmetatable", "tonumber", "tostring", "type", "xpcall"} do
  env[name] = _G[name]
end
env.unpack, env.collectgarbage = unpack, collectgarbage
env._G = env
function host.load(text, name, ...)
  local chunk, reason = raw_loadstring(text, name)
  if not chunk then return nil, reason end
  setfenv(chunk, env)
  local bits = {...}
  return function() return chunk(raw_unpack(bits)) end
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
