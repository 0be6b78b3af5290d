-- For wrk: posts mails to a new recipient each, and ends with one line of JSON that `load.py` reads.
local number, codes = 0, {}
local threads = {}
local template = os.getenv("BODY")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY")

function setup(thread)
  table.insert(threads, thread)
end

function init()
  counted = codes
end

function request()
  number = number + 1
  return wrk.format(nil, nil, nil, (template:gsub("NUMBER", tostring(number))))
end

function response(status)
  codes[tostring(status)] = (codes[tostring(status)] or 0) + 1
end

function done(summary, latency)
  local found = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counted")) do
      table.insert(found, string.format('"%s": %d', status, count))
    end
  end
  local errors = summary.errors
  print(string.format('{"seconds": %f, "codes": {%s}, "broken": %d, "p50": %f, "p99": %f, "longest": %f}',
    summary.duration / 1e6, table.concat(found, ", "), errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
