-- A thousand users, each with a cookie of its own; the requests are made once, so that sending them costs nothing.
local requests, n = {}, 0
init = function()
  for user = 1, 1000 do
    requests[user] = wrk.format("GET", "/", { ["Host"] = "shop.example.com", ["Cookie"] = "fm_uid=user-" .. user })
  end
end
request = function()
  n = n % 1000 + 1
  return requests[n]
end
