-- Messages that have a priority or a limit key wait in lanes beside pending, one lane for each level and key. All are members
-- of one set, `waiting`: lane, NUL, number (16 digits, microseconds), NUL, message, in the order of their bytes. So a lane is
-- a run of it, the oldest first, and to find the first of a lane takes as long whatever the others hold. `turns` has the lanes with messages: below 0
-- those that may go, by level and by when they came or were served last; and else the time (ms) when one at its limit may go.
local TURNS = 2.5e15 -- more than there will be microseconds

-- The members that begin with a lane, or a key.
local function run_of(name)
  return '[' .. name .. '\0', '(' .. name .. '\1'
end

-- Behind all lanes of its level that may go.
local function turn_of(lane, now_us)
  return (string.byte(lane) - 51) * TURNS + now_us
end
