-- message id and payload of a stored message; nil and the value itself when it is no envelope.
local function unwrap(stored)
  if string.sub(stored, 1, #PREFIX) ~= PREFIX then return nil, stored end
  local ok, content = pcall(cjson.decode, string.sub(stored, #PREFIX + 1))
  if not ok or type(content) ~= 'table' or type(content.id) ~= 'string' then return nil, stored end
  if type(content.payload) == 'string' then return content.id, content.payload end
  if type(content.payload_hex) == 'string' and #content.payload_hex % 2 == 0
      and not string.find(content.payload_hex, '%X') then
    return content.id, (string.gsub(content.payload_hex, '%x%x', function(byte)
      return string.char(tonumber(byte, 16))
    end))
  end
  return nil, stored
end

-- The id alone, without decoding the payload where the envelope is written as this library writes it. '' without one,
-- and for one that is not ASCII: it is only told, and must not make a reply unreadable for a decoding client.
local function id_of(stored)
  local id = string.match(stored, '^' .. PREFIX .. '{"id":"([^"\\]+)"') or unwrap(stored) or ''
  return string.find(id, '[\128-\255]') and '' or id
end

