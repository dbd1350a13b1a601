"""Pattern matching written in Lua, for patterns that may take long: its steps are counted as those of any script.

The functions of Lua itself run in C, where no count and no deadline reaches them, and a pattern of 80 characters can
keep them busy for years. The host uses them where a bound of their steps is small, and these elsewhere. Same results,
same captures, same errors; source: Lua 5.1 reference manual, 5.4.1, and the tests compare both on random patterns.
"""

PATTERNS = r"""
local byte, sub, len, find, char = string.byte, string.sub, string.len, string.find, string.char
local type, error, tostring, tonumber, unpack, concat = type, error, tostring, tonumber, unpack, table.concat
local ceil, floor = math.ceil, math.floor
local OPEN, POSITION, MOST = -1, -2, 32

-- the state of one matching: subject s of n characters, pattern p of m, captures from first[k], of size[k] characters
local function matcher(s, p)
  local n = len(s)
  local zero = find(p, "%z")  -- a pattern ends at its first zero, as a text of C does
  if zero then p = sub(p, 1, zero - 1) end
  local m = len(p)
  local level, first, size, classes = 0, {}, {}, {}
  local match

  local function class_end(i)
    local c = byte(p, i)
    i = i + 1
    if c == 37 then
      if i > m then error("malformed pattern (ends with `%')", 0) end
      return i + 1
    elseif c == 91 then
      if byte(p, i) == 94 then i = i + 1 end
      repeat
        if i > m then error("malformed pattern (missing `]')", 0) end
        c = byte(p, i)
        i = i + 1
        if c == 37 and i <= m then i = i + 1 end
      until byte(p, i) == 93
      return i + 1
    end
    return i
  end

  local function belongs(c, from, to)
    local class = classes[from]
    if not class then
      class = "^" .. sub(p, from, to)
      classes[from] = class
    end
    return find(c, class) ~= nil
  end

  local function single(i, from, past)
    local c = byte(p, from)
    if c == 46 then return true end
    if c == 37 or c == 91 then return belongs(sub(s, i, i), from, past - 1) end
    return byte(s, i) == c
  end

  local function balance(i, from)
    if from + 1 > m then error("unbalanced pattern", 0) end
    local open, close = byte(p, from, from + 1)
    if i > n or byte(s, i) ~= open then return nil end
    local depth = 1
    for k = i + 1, n do
      local c = byte(s, k)
      if c == close then
        depth = depth - 1
        if depth == 0 then return k + 1 end
      elseif c == open then
        depth = depth + 1
      end
    end
    return nil
  end

  local function captured(digit)
    local k = digit - 48
    if k < 1 or k > level or size[k] == OPEN then error("invalid capture index", 0) end
    return k
  end

  local function capture(i, from, kind)
    if level >= MOST then error("too many captures", 0) end
    level = level + 1
    first[level], size[level] = i, kind
    local stop = match(i, from)
    if not stop then level = level - 1 end
    return stop
  end

  local function close(i, from)
    local k = level
    while k > 0 and size[k] ~= OPEN do k = k - 1 end
    if k == 0 then error("invalid pattern capture", 0) end
    size[k] = i - first[k]
    local stop = match(i, from)
    if not stop then size[k] = OPEN end
    return stop
  end

  local function longest(i, from, past)
    local k = 0
    while i + k <= n and single(i + k, from, past) do k = k + 1 end
    while k >= 0 do
      local stop = match(i + k, past + 1)
      if stop then return stop end
      k = k - 1
    end
    return nil
  end

  local function shortest(i, from, past)
    while true do
      local stop = match(i, past + 1)
      if stop then return stop end
      if i > n or not single(i, from, past) then return nil end
      i = i + 1
    end
  end

  function match(i, from)
    while from <= m do
      local c, after = byte(p, from, from + 1)
      if c == 40 then
        if after == 41 then return capture(i, from + 2, POSITION) end
        return capture(i, from + 1, OPEN)
      elseif c == 41 then
        return close(i, from + 1)
      elseif c == 37 and after == 98 then
        i = balance(i, from + 2)
        if not i then return nil end
        from = from + 4
      elseif c == 37 and after == 102 then
        from = from + 2
        if byte(p, from) ~= 91 then error("missing `[' after `%f' in pattern", 0) end
        local past = class_end(from)
        local before, here = i > 1 and sub(s, i - 1, i - 1) or "\0", i <= n and sub(s, i, i) or "\0"
        if belongs(before, from, past - 1) or not belongs(here, from, past - 1) then return nil end
        from = past
      elseif c == 37 and after and after >= 48 and after <= 57 then
        local k = captured(after)
        local wide = size[k]
        if wide == POSITION or n - i + 1 < wide or sub(s, first[k], first[k] + wide - 1) ~= sub(s, i, i + wide - 1) then
          return nil
        end
        i, from = i + wide, from + 2
      elseif c == 36 and from == m then
        return i == n + 1 and i or nil
      else
        local past = class_end(from)
        local hit, kind = i <= n and single(i, from, past), byte(p, past)
        if kind == 63 then
          if hit then
            local stop = match(i + 1, past + 1)
            if stop then return stop end
          end
          from = past + 1
        elseif kind == 42 then
          return longest(i, from, past)
        elseif kind == 43 then
          return hit and longest(i + 1, from, past) or nil
        elseif kind == 45 then
          return shortest(i, from, past)
        else
          if not hit then return nil end
          i, from = i + 1, past
        end
      end
    end
    return i
  end

  local function one(k, i, stop)
    if k > level then
      if k ~= 1 then error("invalid capture index", 0) end
      return sub(s, i, stop - 1)
    end
    if size[k] == OPEN then error("unfinished capture", 0) end
    if size[k] == POSITION then return first[k] end
    return sub(s, first[k], first[k] + size[k] - 1)
  end

  local function all(i, stop, whole)
    local values, count = {}, (level == 0 and whole) and 1 or level
    for k = 1, count do values[k] = one(k, i, stop) end
    return values, count
  end

  local function at(i, from)
    level = 0
    return match(i, from)
  end
  return {at = at, one = one, all = all, n = n, anchored = byte(p, 1) == 94}
end

local function start(init, n)
  local i = init == nil and 1 or tonumber(init)
  if not i then error("bad argument #3 (number expected, got " .. type(init) .. ")", 0) end
  i = i < 0 and ceil(i) or floor(i)
  if i < 0 then i = n + i + 1 end
  if i < 1 then i = 1 end
  return i > n + 1 and n + 1 or i
end

local function search(s, p, init)
  local state = matcher(s, p)
  local from = state.anchored and 2 or 1
  for i = start(init, state.n), state.anchored and start(init, state.n) or state.n + 1 do
    local stop = state.at(i, from)
    if stop then return state, i, stop end
  end
end

local slow = {}
function slow.find(s, p, init)
  local state, i, stop = search(s, p, init)
  if not state then return nil end
  local values, count = state.all(i, stop, false)
  return i, stop - 1, unpack(values, 1, count)
end
function slow.match(s, p, init)
  local state, i, stop = search(s, p, init)
  if not state then return nil end
  local values, count = state.all(i, stop, true)
  return unpack(values, 1, count)
end
function slow.plain(s, p, init)
  local wide = len(p)
  for i = start(init, len(s)), len(s) - wide + 1 do
    if wide == 0 or byte(s, i) == byte(p, 1) and sub(s, i, i + wide - 1) == p then return i, i + wide - 1 end
  end
  return nil
end
function slow.gmatch(s, p)
  local state, i = matcher(s, p), 1
  return function()
    while i <= state.n + 1 do
      local here, stop = i, state.at(i, 1)
      if stop then
        i = stop == here and stop + 1 or stop
        local values, count = state.all(here, stop, true)
        return unpack(values, 1, count)
      end
      i = i + 1
    end
    return nil
  end
end
function slow.gsub(s, p, replacement, most)
  local kind = type(replacement)
  if kind ~= "string" and kind ~= "number" and kind ~= "table" and kind ~= "function" then
    error("bad argument #3 to 'gsub' (string/function/table expected)", 0)
  end
  local text = (kind == "string" or kind == "number") and tostring(replacement)
  local state = matcher(s, p)
  local from, limit = state.anchored and 2 or 1, most == nil and state.n + 1 or tonumber(most)
  local parts, size, i, count = {}, 0, 1, 0
  local function put(piece) size = size + 1 parts[size] = piece end
  local function expand(here, stop)
    local k = 1
    while k <= len(text) do
      local c = byte(text, k)
      if c ~= 37 then
        local next_one = find(text, "%", k, true) or len(text) + 1
        put(sub(text, k, next_one - 1))
        k = next_one
      else
        local digit = byte(text, k + 1)
        if digit and digit >= 48 and digit <= 57 then
          put(digit == 48 and sub(s, here, stop - 1) or tostring(state.one(digit - 48, here, stop)))
        elseif digit then
          put(char(digit))
        else
          put("\0")
        end
        k = k + 2
      end
    end
  end
  while count < limit do
    local stop = state.at(i, from)
    if stop then
      count = count + 1
      if text then
        expand(i, stop)
      else
        local value
        if kind == "table" then value = replacement[state.one(1, i, stop)]
        else
          local values, n = state.all(i, stop, true)
          value = replacement(unpack(values, 1, n))
        end
        if not value then put(sub(s, i, stop - 1))
        elseif type(value) == "string" or type(value) == "number" then put(tostring(value))
        else error("invalid replacement value (a " .. type(value) .. ")", 0) end
      end
    end
    if stop and stop > i then i = stop
    elseif i <= state.n then put(sub(s, i, i)) i = i + 1
    else break end
    if state.anchored then break end
  end
  put(sub(s, i))
  return concat(parts), count
end
return slow
"""
