-- Drop the claim record that a peer may keep for a lease; where there are none of them (keys.records), nobody has to look.
-- The record's name is data, so in a cluster it may be out of reach: then its own expiry removes it.
local function forget_records(keys, token)
  if keys.records == nil then keys.records = call('EXISTS', keys.refs, keys.ids, keys.backrefs) > 0 end
  if not token or not keys.records then return end
  local record = call('HGET', keys.refs, token)
  if record then
    pcall_redis('DEL', record)
    call('HDEL', keys.refs, token)
  end
  local claim = call('HGET', keys.backrefs, token)
  if claim then
    call('HDEL', keys.ids, claim)
    call('HDEL', keys.backrefs, token)
  end
end
