-- An error reply unless every key is missing or of the type that follows it in the list. Runs before any write.
local function check(list)
  for i = 1, #list, 2 do
    local actual = call('TYPE', list[i])['ok']
    if actual ~= 'none' and actual ~= list[i + 1] then
      return redis.error_reply('WRONGTYPE ' .. list[i] .. ' is a ' .. actual .. ', expected a ' .. list[i + 1])
    end
  end
end

local function check_leases(keys)
  return check({ keys.pending, 'list', keys.processing, 'list', keys.deadlines, 'zset', keys.tokens, 'hash', keys.counter, 'string',
    keys.counts, 'hash', keys.refs, 'hash', keys.ids, 'hash', keys.backrefs, 'hash' })
end
