-- Copies of requests. A rule gives one away to a task of its own, so that nobody waits for it; the task sends it to the process's own socket,
-- whose frontend knows the backend by its name. What is not whole in the process's memory is not copied: a part of it would be another request.

local MOST_WAITING = 512
local SECONDS = 10
-- Of one connection, or said anew by whoever sends the copy.
local OWN = { "connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "content-length", "expect", "te", "http2-settings" }

local socket = os.getenv("KNARR_MIRROR")
local waiting = 0

local function copied(found)
  local headers = {}
  for name, values in pairs(found) do
    local list = {}
    for position = 0, #values do
      if values[position] ~= nil then list[#list + 1] = values[position] end
    end
    headers[name] = list
  end
  return headers
end

local function send(path, headers, body)
  core.httpclient():post { url = "http://mirror" .. path, headers = headers, body = body, dst = "unix@" .. socket, timeout = SECONDS * 1000 }
end

core.register_action("mirror", { "http-req" }, function(txn, backend)
  local headers = copied(txn.http:req_get_headers())
  local body = txn.sf:req_body() or ""
  local length = headers["content-length"]
  if (length and tonumber(length[1]) ~= #body) or #body > tonumber(os.getenv("KNARR_MIRROR_BYTES")) or headers["upgrade"] or waiting >= MOST_WAITING then
    return
  end
  for _, name in ipairs(OWN) do headers[name] = nil end
  headers["x-knarr-mirror"] = { backend }
  headers["x-knarr-method"] = { txn.sf:method() }
  if length or #body > 0 then headers["content-length"] = { tostring(#body) } end
  local path = txn.sf:pathq()
  waiting = waiting + 1
  core.register_task(function()
    pcall(send, path, headers, body)
    waiting = waiting - 1
  end)
end, 1)
