-- The lane of a message that has a priority or a limit key: the digit of its level (0 high, 1 normal, 2 low) and the key
-- as its envelope quotes it, in ASCII. Nil for all others, which wait in pending itself.
local LANE = '^' .. PREFIX .. '{"id":"[^"\\]+","lane":"([0-2][ -~]-)","payload'
local function lane_of(stored)
  return string.match(stored, LANE)
end
