-- Forget the deduplication keys of messages that were given up, as far as they hold them.
-- KEYS  the markers
-- ARGV  for each the id of its message
-- reply how many there were
-- cost  O(1) for each
--#include base
--#include free_key
for i = 1, #KEYS do free_key(KEYS[i], ARGV[i]) end
return #KEYS
