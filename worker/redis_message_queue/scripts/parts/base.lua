local call, pcall_redis = redis.call, redis.pcall
local PREFIX = '\30RMQ1:' -- of an envelope

-- A whole number as text. Commands take numbers as they are; but to put one together with text rounds it to 14 digits.
local function text(number)
  return string.format('%d', number)
end

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
