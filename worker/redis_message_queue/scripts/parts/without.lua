-- What a process has leased (` token token …`) without these tokens. Where many of them go, all are looked at. Few are found
-- one by one: tokens ascend, but for rare ones, so of a long text most is left out without a look, and the rest is copied
-- in pieces.
local function without(leased, tokens)
  if #tokens * 64 > #leased then
    local gone = {}
    for i = 1, #tokens do gone[tokens[i]] = '' end
    return (string.gsub(leased, ' (%d+)', gone))
  end
  local text, cuts, lengths, pieces, at = leased .. ' ', {}, {}, {}, 1
  for i = 1, #tokens do
    local token, low, high = ' ' .. tokens[i] .. ' ', 1, #text
    while high - low > 1000 do
      local middle = math.floor((low + high) / 2)
      local from, number = string.match(text, '() (%d+)', middle)
      if tonumber(number) > tonumber(tokens[i]) then high = middle else low = from end
    end
    local from = string.find(text, token, low, true) or string.find(text, token, 1, true)
    if from then cuts[#cuts + 1], lengths[from] = from, #token - 1 end
  end
  table.sort(cuts)
  for i = 1, #cuts do
    pieces[i], at = string.sub(leased, at, cuts[i] - 1), cuts[i] + lengths[cuts[i]]
  end
  pieces[#pieces + 1] = string.sub(leased, at)
  return table.concat(pieces)
end
