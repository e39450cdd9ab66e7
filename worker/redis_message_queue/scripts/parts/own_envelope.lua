local function is_text(value)
  -- UTF-8 beyond ASCII, from two bytes to four.
  local characters = { '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]' }
  for i = 1, #characters do value = string.gsub(value, characters[i], ' ') end
  return not string.find(value, '[\128-\255]')
end

-- Claims are known by value. The second copy of a value in flight (of a producer that writes no envelopes) gets an
-- envelope of its own at the head of processing, where the claim has put it: what to claim, and why it could not be
-- written. `unique` is a text that no other claim has; the id shows that the value came without one.
local function own_envelope(processing, stored, unique)
  local content = { id = 'raw-' .. string.sub(redis.sha1hex(unique), 1, 32) }
  if is_text(stored) then
    content.payload = stored
  else
    content.payload_hex = string.gsub(stored, '.', function(char) return string.format('%02x', string.byte(char)) end)
  end
  local own = PREFIX .. cjson.encode(content)
  return own, pcall_redis('LSET', processing, 0, own).err
end
