-- The answer of a publish one of whose writes was refused with `err`: in the server's words, so that the first one tells
-- a client what to do; out of memory says where it stands, which is `left`.
local word = string.match(err, '%u%u%u+ .*') or err
return redis.error_reply(string.sub(word, 1, 4) == 'OOM ' and 'OOM during publish; ' .. left .. ': ' .. err or word)
