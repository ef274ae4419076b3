// Serves a learner's modules: takes requests, answers with values, and knows nothing of tests.
//
// Learner's code is in this process and may change anything in it. All that comes of it is an
// answer, and whoever asked takes answers for what they are: something that a learner's function
// may return. Its event loop turns while somebody awaits a promise, and not between requests.
"use strict";

const { readSync, writeSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { Readable } = require("node:stream");
const { pathToFileURL } = require("node:url");
const { types } = require("node:util");

const values = require("./values.cjs");

const OUTPUT_MOST = 64 * 1024;
const NESTED_MOST = 50;
const TURN_MILLISECONDS = 10;
const later = setTimeout;
const exit = process.exit.bind(process);
const BUILT_IN = new Map(
    [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, Array, Object,
     Map, Set, Date, Promise, Function, Number, String, Boolean, BigInt, Symbol, RegExp]
        .map((each) => [each, each.name]),
);

class Server {
    constructor() {
        this.printed = "";
        this._modules = new Map();
        this._objects = [];
        this._numbers = new Map();
        this._depth = 0;
        this._require = createRequire(join(process.cwd(), "main.js"));
    }

    async serve() {
        for (;;) {
            const request = this._read();
            if (request === null) return;
            const answer = await this._answer(request);
            this._write({ ...answer, out: this._taken() });
        }
    }

    _taken() {
        const printed = this.printed.slice(0, OUTPUT_MOST);
        this.printed = "";
        return printed;
    }

    _read() {
        const header = exactly(4);
        if (header === null) return null;
        const text = exactly(header.readUInt32BE());
        return text === null ? null : values.loads(text);
    }

    _write(message) {
        let text;
        try {
            text = values.dumps(message);
        } catch (unfit) {
            text = values.dumps({ unfit: String(unfit.message) });
        }
        const header = Buffer.alloc(4);
        header.writeUInt32BE(text.length);
        write(Buffer.concat([header, text]));
    }

    async _answer(request) {
        try {
            if (request.do === "turn") {
                await new Promise((resolve) => later(resolve, TURN_MILLISECONDS));
                return { value: null };
            }
            await this._load(request.on.p?.[0]);
            for (const each of request.args ?? []) await this._load(each?.p?.[0]);
            if (request.do === "await") return { value: this.encode(await this._target(request.on)) };
        } catch (error) {
            return this._thrown(error);
        }
        return this._tried(request);
    }

    // Without awaiting anything: also for requests that come while the test's function is called.
    _tried(request) {
        try {
            const target = this._target(request.on);
            if (request.do === "names") return { value: this._named(target, request.names) };
            const args = (request.args ?? []).map((each) => this.decode(each));
            const result = OPERATIONS[request.do](target, args, this.decode(request.self ?? null));
            const after = args.map((each) => this.encode(each));
            const changed = JSON.stringify(after) !== JSON.stringify(request.args ?? []);
            return { value: this.encode(result), ...(changed ? { args: after } : {}) };
        } catch (error) {
            return this._thrown(error);
        }
    }

    _thrown(error) {
        if (error instanceof values.Unfit) return { unfit: error.message };
        try {
            return { raised: this._raised(error) };
        } catch {
            return { raised: { value: "something that can't be told" } };
        }
    }

    _raised(error) {
        if (!(error instanceof Error)) return { value: this.encode(error) };
        const more = Object.entries(error).filter(([, each]) => isPlain(each));
        return {
            class: this._class(error.constructor),
            message: String(error.message).slice(0, 4000),
            name: String(error.name).slice(0, 80),
            more: more.slice(0, 20).map(([name, each]) => [name, this.encode(each)]),
        };
    }

    _named(target, names) {
        const found = names.filter((name) => name in target).map((name) => [name, target[name]]);
        return found.filter(([, each]) => isPlain(each)).map(([name, each]) => [name, this.encode(each)]);
    }

    // --- modules -------------------------------------------------------------------------------

    async _load(file) {
        if (file === undefined || this._modules.has(file)) return;
        const path = join(process.cwd(), file);
        let made;
        try {
            made = this._require(path);
        } catch (error) {
            if (error?.code !== "ERR_REQUIRE_ESM") throw error;
            made = await import(pathToFileURL(path));
        }
        this._modules.set(file, made);
    }

    _target(reference) {
        if ("o" in reference) return this._objects[reference.o];
        const [file, ...names] = reference.p;
        if (!this._modules.has(file)) throw new Error(`${file} is not loaded yet`);
        return names.reduce((found, name) => found[name], this._modules.get(file));
    }

    // --- values --------------------------------------------------------------------------------

    encode(value) {
        return values.encode(value, (each) => this._opaque(each));
    }

    decode(data) {
        return values.decode(data, (each) => this._known(each));
    }

    _opaque(value) {
        if (typeof value === "function") return this._class(value);
        if (types.isPromise(value)) {
            Promise.prototype.then.call(value, undefined, () => {}); // who awaits it hears of it
            return { o: this._number(value), n: "Promise", promise: true };
        }
        return { o: this._number(value), n: String(value?.constructor?.name ?? typeof value).slice(0, 80) };
    }

    _class(value) {
        if (BUILT_IN.has(value)) return { o: -1, builtin: BUILT_IN.get(value) };
        const described = { o: this._number(value), n: String(value.name).slice(0, 80), function: true };
        if (value.prototype instanceof Error) described.error = this._class(Object.getPrototypeOf(value));
        return described;
    }

    _number(value) {
        if (!this._numbers.has(value)) {
            this._numbers.set(value, this._objects.length);
            this._objects.push(value);
        }
        return this._numbers.get(value);
    }

    _known(data) {
        if ("p" in data) return this._target(data);
        if ("builtin" in data) return globalThis[data.builtin];
        if (!("back" in data)) return this._objects[data.o];
        const server = this;
        return function functionOfTheTest(...args) {
            return server._callBack(data.back, args);
        };
    }

    // Have the test's own function called, and work on requests meanwhile.
    _callBack(number, args) {
        if (this._depth >= NESTED_MOST) throw new RangeError("the test's functions are called too deeply");
        this._depth += 1;
        try {
            this._write({ back: number, args: args.map((each) => this.encode(each)) });
            for (;;) {
                const message = this._read();
                if (message === null) exit(1);
                if (message.do === "return") return this.decode(message.value);
                if (message.do === "raise") throw new (globalThis[message.name] ?? Error)(message.text);
                this._write({ ...this._tried(message), out: this._taken() });
            }
        } finally {
            this._depth -= 1;
        }
    }
}

const OPERATIONS = {
    value: (target) => target,
    get: (target, [name]) => target[name],
    set: (target, [name, value]) => Reflect.set(Object(target), name, value),
    has: (target, [name]) => name in target,
    delete: (target, [name]) => Reflect.deleteProperty(target, name),
    call: (target, args, self) => Reflect.apply(target, self ?? undefined, args),
    new: (target, args) => Reflect.construct(target, args),
    iterator: (target) => target[Symbol.iterator](),
    asyncIterator: (target) => target[Symbol.asyncIterator](),
    primitive: (target, [hint]) => (hint === "number" ? Number(target) : hint === "string" ? `${target}` : target + ""),
    instanceof: (target, [other]) => other instanceof target,
};

function isPlain(value) {
    return value === null || (typeof value !== "function" && typeof value !== "object" && typeof value !== "symbol");
}

function exactly(count) {
    const room = Buffer.alloc(count);
    let have = 0;
    while (have < count) {
        let length = 0;
        try {
            length = readSync(0, room, have, count - have);
        } catch (error) {
            if (error.code !== "EAGAIN") return null;
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
            continue;
        }
        if (length === 0) return null;
        have += length;
    }
    return room;
}

function write(text) {
    while (text.length) {
        try {
            text = text.subarray(writeSync(1, text));
        } catch (error) {
            if (error.code !== "EAGAIN") throw error;
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
        }
    }
}

const server = new Server();
// Standard input and output are the channel; programs get others.
process.stdout.write = (chunk, ...more) => {
    if (server.printed.length < OUTPUT_MOST) server.printed += String(chunk);
    more.at(-1)?.call?.();
    return true;
};
Object.defineProperty(process, "stdin", { value: Readable.from([]), configurable: true });
process.on("unhandledRejection", (error) => {
    throw error;
});
server.serve().then(() => exit(0));
