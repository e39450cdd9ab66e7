-- What a process holds (` token token …`) without these tokens. They ascend, but for rare ones, so each is found in few steps
-- and the rest is copied in pieces: to look at every one of thousands would take longer than all else of a call.
local function without(held, tokens)
  local text, cuts, lengths, pieces, at = held .. ' ', {}, {}, {}, 1
  local match, floor = string.match, math.floor
  for i = 1, #tokens do
    local token, wanted, low, high, found = tokens[i], tonumber(tokens[i]), 1, #text, nil
    while low < high and not found do
      local middle = floor((low + high) / 2)
      local from, number = match(text, '() (%d+)', middle)
      if number == token then
        found = from
      elseif not from or from >= high or tonumber(number) > wanted then
        high = middle
      else
        low = from + 1
      end
    end
    found = found or string.find(text, ' ' .. token .. ' ', 1, true)
    if found then cuts[#cuts + 1], lengths[found] = found, #token + 1 end
  end
  table.sort(cuts)
  for i = 1, #cuts do
    pieces[i], at = string.sub(held, at, cuts[i] - 1), cuts[i] + lengths[cuts[i]]
  end
  pieces[#pieces + 1] = string.sub(held, at)
  return table.concat(pieces)
end
