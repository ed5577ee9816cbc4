-- What wrk sends: the requests of a file, in order.  tests/bench/load.py starts it.
--
-- wrk ... -s load.lua URL -- FILE THREADS once|cycle RATE
--
-- A line of FILE is method, path, secret and body, with a tab between them; secret and body may be empty.  Each thread takes
-- every THREADSth line.  "cycle": all are made beforehand and sent again and again.  "once": none is sent twice, and they
-- are read on the way.  RATE: requests a second of all threads together, 0 for as many as there can be.
-- The environment's BENCH_ADDRESSES are servers, which the threads share among them.

local ffi = require("ffi")
ffi.cdef("typedef struct { long s, ns; } bench_time; int clock_gettime(int clock, bench_time *ret);")
local CLOCK_MONOTONIC = 1
local PERCENTILES = { 50, 90, 99, 99.9 }

local threads = {}
local addresses = {}
for host, port in os.getenv("BENCH_ADDRESSES"):gmatch("(%S+):(%d+)") do
    addresses[#addresses + 1] = { host = host, port = port }
end

function setup(thread)
    thread:set("number", #threads)
    local one = addresses[#threads % #addresses + 1]
    thread.addr = wrk.lookup(one.host, one.port)[1]
    table.insert(threads, thread)
end

local function made(line)
    local method, path, secret, body = line:match("^(%S+)\t(%S+)\t(%S*)\t(.*)$")
    local head = { method .. " " .. path .. " HTTP/1.1", "Host: " .. wrk.host .. ":" .. wrk.port }
    if secret ~= "" then
        table.insert(head, "Authorization: Bearer " .. secret)
    end
    if body ~= "" then
        table.insert(head, "Content-Type: application/json")
        table.insert(head, "Content-Length: " .. #body)
    end
    return table.concat(head, "\r\n") .. "\r\n\r\n" .. body
end

-- Gives the lines of one thread.
local function share(path, count)
    local file, left = io.open(path), number + 1
    return function()
        local line
        for _ = 1, left do
            line = file:read("*l")
        end
        left = count
        return line
    end
end

local function now_ms()
    local time = ffi.new("bench_time")
    ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
    return tonumber(time.s) * 1000 + tonumber(time.ns) / 1e6
end

-- The requests have places in time, at equal distances: whoever has sent one takes the next free place.
local function pace(interval_ms, first_ms)
    local place = nil
    function delay()
        local now = now_ms()
        place = place and place + interval_ms or now + first_ms
        return math.max(0, math.floor(place - now + 0.5))
    end
end

function init(args)
    local path, count, way, rate = args[1], tonumber(args[2]), args[3], tonumber(args[4])
    local lines = share(path, count)
    sent, short = 0, 0
    if way == "once" then
        local last
        function request()
            local line = lines()
            if not line then
                short = 1
                return last
            end
            sent = sent + 1
            last = made(line)
            return last
        end
    else
        local all = {}
        for line in lines do
            all[#all + 1] = made(line)
        end
        local next_one = 0
        function request()
            next_one = next_one % #all + 1
            return all[next_one]
        end
    end
    if rate > 0 then
        pace(1000 * count / rate, 1000 * number / rate)
    end
end

function done(summary, latency, requests)
    local found = {}
    local function put(name, value)
        table.insert(found, string.format('"%s": %.17g', name, value))
    end
    put("seconds", summary.duration / 1e6)
    put("requests", summary.requests)
    for name, count in pairs(summary.errors) do
        put(name .. "_errors", count)
    end
    for _, percentile in ipairs(PERCENTILES) do
        put("p" .. tostring(percentile):gsub("%.", "") .. "_ms", latency:percentile(percentile) / 1000)
    end
    put("max_ms", latency.max / 1000)
    local short_of = 0
    for _, thread in ipairs(threads) do
        short_of = short_of + thread:get("short")
    end
    put("short", short_of)
    io.write("figures {" .. table.concat(found, ", ") .. "}\n")
end
