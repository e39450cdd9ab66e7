-- Where messages that are published go: those without a lane to pending, and so does the first with one if nothing else would
-- wake who waits at pending; it is put into its lane by the claim that meets it. So do all that come to the `front`.
-- Replies what to push to pending, then score and member of each for `waiting`, and for `turns`. It reads no message, which
-- a producer need not have the right to.
local function enter(pending, waiting, turns, messages, front)
  local others, entries, numbers, empty, time = {}, {}, {}, {}, call('TIME')
  local now_us = time[1] * 1000000 + time[2]
  -- A lane may have its turn and be empty: its first message stood in pending, and somebody else has taken it.
  local idle = not front and call('LLEN', pending) == 0
    and (call('ZCOUNT', turns, '-inf', '(0') == 0 or call('ZCARD', waiting) == 0)
  for i, stored in ipairs(messages) do
    local lane = lane_of(stored)
    if lane and empty[lane] == nil then
      empty[lane] = call('ZLEXCOUNT', waiting, run_of(lane)) == 0
      numbers[#numbers + 1], numbers[#numbers + 2] = turn_of(lane, now_us + i), lane
    end
    if not lane or front or idle and empty[lane] then
      others[#others + 1], idle = stored, false
    else
      local member = lane .. '\0' .. string.format('%016.0f', now_us + i) .. '\0' .. stored
      entries[#entries + 1], entries[#entries + 2] = 0, member
    end
    if lane then empty[lane] = false end
  end
  return others, entries, numbers
end
