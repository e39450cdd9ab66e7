-- What a process has leased (` token token …`) without these tokens. Where many of them go, all are looked at. Few are cut
-- out one by one: tokens ascend, but for rare ones, so of a long text most is passed over without a look.
local function without(leased, tokens)
  if #tokens > 3 and #tokens * 64 > #leased then
    local gone = {}
    for i = 1, #tokens do gone[tokens[i]] = '' end
    return (string.gsub(leased, ' (%d+)', gone))
  end
  local text = leased .. ' '
  for i = 1, #tokens do
    local token, low, high = ' ' .. tokens[i] .. ' ', 1, #text
    while high - low > 1000 do
      local middle = math.floor((low + high) / 2)
      local from, number = string.match(text, '() (%d+)', middle)
      if tonumber(number) > tonumber(tokens[i]) then high = middle else low = from end
    end
    local from = string.find(text, token, low, true) or string.find(text, token, 1, true)
    if from then text = string.sub(text, 1, from - 1) .. string.sub(text, from + #token - 1) end
  end
  return string.sub(text, 1, -2)
end
