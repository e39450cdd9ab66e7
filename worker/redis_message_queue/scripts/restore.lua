-- Put messages back into processing that are there no more although they are leased: the lease itself holds them.
-- KEYS  1 processing, 2 deadlines, 3 tokens
-- ARGV  1 cursor into tokens, 2 about how many to look at, 3 lease ms of those without a deadline, 4 '1' to count alone, then
--       the tokens of those to search for: none to be told which there are
-- reply { next cursor, put back, all tokens looked at }
-- cost  O(looked at), and O(length of processing) for each that is searched for
--#include base
--#include types
--#include admit
local PROCESSING, DEADLINES, TOKENS = KEYS[1], KEYS[2], KEYS[3]
local wrong = check({ PROCESSING, 'list', DEADLINES, 'zset', TOKENS, 'hash' })
if wrong then return wrong end
local wanted, tokens, dry, restored = {}, {}, ARGV[4] == '1', 0
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local page = call('HSCAN', TOKENS, ARGV[1], 'COUNT', ARGV[2])
if ARGV[5] and not dry then admit(TOKENS) end
for i = 1, #page[2], 2 do
  local stored, token = page[2][i], page[2][i + 1]
  tokens[#tokens + 1] = token
  if wanted[token] and not call('LPOS', PROCESSING, stored) then
    restored = restored + 1
    if not dry then
      call('LPUSH', PROCESSING, stored)
      call('ZADD', DEADLINES, 'NX', now_ms() + ARGV[3], stored)
    end
  end
end
return { page[1], restored, table.concat(tokens, ' ') }
