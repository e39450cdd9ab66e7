-- Keep what became of a message for so many ms: `key {"state":…}` as it is sent. Of several under one key the newest counts,
-- and who waits for it takes it from the head of that list to the head. No settlement fails because of that.
local function keep_result(result, ttl)
  local key, text = string.match(result, '^(.-) ({"state":.*)$')
  local length = key and pcall_redis('LPUSH', key, text)
  if type(length) ~= 'number' then return end
  if length > 1 then pcall_redis('LTRIM', key, 0, 0) end
  if pcall_redis('PEXPIRE', key, ttl) ~= 1 then pcall_redis('DEL', key) end -- none stays without an expiry
end
