-- The largest body of requests that do not say their length before. One that becomes larger is ended by an error, which HAProxy answers.
-- What stands for the end of a body is counted as a byte.

local Limit = { id = "limit", flags = filter.FLT_CFG_FL_HTX }
Limit.__index = Limit

function Limit:new()
  return setmetatable({ left = self.most + 1 }, self)
end

function Limit:start_analyze(_, channel)
  if not channel:is_resp() then filter.register_data_filter(self, channel) end
end

function Limit:http_payload(_, message)
  self.left = self.left - message:input()
  if self.left < 0 then error("too large") end
end

core.register_filter("limit", Limit, function(class, words)
  class.most = tonumber(words[1])
  return class
end)
