-- Give an unhandled claim without a lease back: the next one to be claimed again.
-- KEYS  1 pending, 2 processing, 3 claim record, 4 ids, 5 backrefs
-- ARGV  1 claim id, 2 stored message
-- reply 1 requeued, 0 the message was no longer in processing
-- cost  O(position in processing)
--#include base
--#include types
--#include admit
--#include take_out
local wrong = check({ KEYS[1], 'list', KEYS[2], 'list', KEYS[3], 'string', KEYS[4], 'hash', KEYS[5], 'hash' })
if wrong then return wrong end
admit(KEYS[4])
call('RPUSH', KEYS[1], ARGV[2])
local removed = take_out({ processing = KEYS[2] }, ARGV[2], nil, 'RPOP', KEYS[1])
call('HDEL', KEYS[4], ARGV[1])
call('HDEL', KEYS[5], ARGV[2])
call('DEL', KEYS[3])
return removed
