// The grading sandbox's end of the channel to the host, and through it to a student sandbox: the
// frames are those of inside/channel.py.
//
// Tests call synchronously, so whoever calls waits, without the event loop: a thread reads.
"use strict";

const { writeSync } = require("node:fs");
const { join } = require("node:path");
const { MessageChannel, Worker, receiveMessageOnPort } = require("node:worker_threads");

const values = require("./values.cjs");

// Tests may stop the clocks that they see.
const now = performance.now.bind(performance);

// The learner's process is gone, hangs or answers nonsense. A test may catch it: what is `broken` is told.
class LearnerEnded extends Error {
    constructor(why) {
        super(`the test can't go on: ${why}`);
        this.name = "LearnerEnded";
    }
}

class Channel {
    constructor(callSeconds) {
        this.open = false; // whether there is a process of the learner's
        this.broken = ""; // why it is of no use any more
        this.slow = false; // whether that is because a call took too long
        this.number = 0; // of the process; what was made in one is of no use in another
        this.callSeconds = callSeconds;
        this._answers = Buffer.alloc(0);
        this._pending = Buffer.alloc(0);
        this._count = new Int32Array(new SharedArrayBuffer(4));
        const { port1, port2 } = new MessageChannel();
        this._port = port1;
        const workerData = { count: this._count, port: port2 };
        new Worker(join(__dirname, "reader.cjs"), { workerData, transferList: [port2], execArgv: [] }).unref();
        port1.unref();
    }

    // --- to the host ---------------------------------------------------------------------------

    tell(kind, message) {
        // Half of a surrogate pair is no text for the host.
        const whole = (_, each) => (typeof each === "string" ? Buffer.from(each).toString() : each);
        this._send(kind, Buffer.from(JSON.stringify(message, whole)));
    }

    _send(kind, content) {
        const header = Buffer.alloc(5);
        header.write(kind, 0, "latin1");
        header.writeUInt32BE(content.length, 1);
        let left = Buffer.concat([header, content]);
        while (left.length) {
            try {
                left = left.subarray(writeSync(1, left));
            } catch (error) {
                if (error.code !== "EAGAIN") throw error;
                Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
            }
        }
    }

    close() {
        if (!this.open) return;
        this.tell("E", null);
        while (this._receive(null).kind !== "e");
        this.open = this.slow = false;
        this.broken = "";
        this._answers = Buffer.alloc(0);
    }

    // --- to the learner's process --------------------------------------------------------------

    ask(request, onBack) {
        if (!this.open) {
            this.tell("B", null);
            this.open = true;
            this.number += 1;
        }
        if (this.broken) throw new LearnerEnded(this.broken);
        this._write(request);
        for (;;) {
            const answer = this._read(now() + 1000 * this.callSeconds);
            if (answer === null || typeof answer !== "object") this.fail("it sent something that is no answer");
            if (!Object.hasOwn(answer, "back")) return answer;
            this._write(onBack(answer));
        }
    }

    _write(message) {
        const text = values.dumps(message);
        const header = Buffer.alloc(4);
        header.writeUInt32BE(text.length);
        this._send("D", Buffer.concat([header, text]));
    }

    _read(deadline) {
        const length = this._bytes(4, deadline).readUInt32BE();
        if (length > values.MESSAGE_MOST) this.fail("it sent more than an answer may have");
        const text = this._bytes(length, deadline);
        try {
            return values.loads(text);
        } catch {
            return this.fail("it sent something that is no answer");
        }
    }

    _bytes(count, deadline) {
        const pieces = [this._answers];
        let have = this._answers.length;
        while (have < count) {
            const { kind, content } = this._receive(deadline);
            if (kind === "d") {
                pieces.push(content);
                have += content.length;
            } else if (kind === "x") {
                this.fail(JSON.parse(content).words);
            } else if (kind === "") {
                this.slow = true;
                this.fail(`a call took more than ${this.callSeconds} s`);
            }
        }
        const all = Buffer.concat(pieces);
        this._answers = all.subarray(count);
        return all.subarray(0, count);
    }

    // Nothing more of this process is believed.
    fail(why) {
        this.broken = why;
        throw new LearnerEnded(why);
    }

    // A frame of the host, or an empty kind when there was none in time.
    _receive(deadline) {
        for (;;) {
            if (this._pending.length >= 5) {
                const end = 5 + this._pending.readUInt32BE(1);
                if (this._pending.length >= end) {
                    const kind = this._pending.toString("latin1", 0, 1);
                    const content = this._pending.subarray(5, end);
                    this._pending = this._pending.subarray(end);
                    return { kind, content };
                }
            }
            const seen = Atomics.load(this._count, 0);
            const received = receiveMessageOnPort(this._port);
            if (received) {
                if (!received.message.length) process.reallyExit(70); // the host is gone
                this._pending = Buffer.concat([this._pending, received.message]);
                continue;
            }
            const left = deadline === null ? Infinity : deadline - now();
            if (left <= 0) return { kind: "", content: Buffer.alloc(0) };
            Atomics.wait(this._count, 0, seen, left);
        }
    }
}

module.exports = { Channel, LearnerEnded, now };
