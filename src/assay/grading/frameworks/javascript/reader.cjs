// A thread that reads what the host sends, so that who waits for it can do so for a limited time.
"use strict";

const { readSync } = require("node:fs");
const { workerData } = require("node:worker_threads");

const { count, port } = workerData;
const room = Buffer.alloc(65536);
for (;;) {
    let length = 0;
    try {
        length = readSync(0, room);
    } catch (error) {
        if (error.code === "EAGAIN") {
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
            continue;
        }
    }
    port.postMessage(new Uint8Array(room.subarray(0, length)));
    Atomics.add(count, 0, 1);
    Atomics.notify(count, 0);
    if (length === 0) break;
}
