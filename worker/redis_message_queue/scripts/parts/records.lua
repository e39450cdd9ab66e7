-- Drop the claim record that a peer may keep for a lease; where there are none of them (L.records), nobody has to look.
-- The record's name is data, so in a cluster it may be out of reach: then its own expiry removes it.
local function forget_records(L, token)
  if L.records == nil then L.records = call('EXISTS', L.refs, L.ids, L.backrefs) > 0 end
  if not token or not L.records then return end
  local record = call('HGET', L.refs, token)
  if record then
    pcall_redis('DEL', record)
    call('HDEL', L.refs, token)
  end
  local claim = call('HGET', L.backrefs, token)
  if claim then
    call('HDEL', L.ids, claim)
    call('HDEL', L.backrefs, token)
  end
end
