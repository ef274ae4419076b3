// What stands for a learner's modules in tests: each use of it is a request to their process.
"use strict";

const { AssertionError } = require("node:assert");
const { inspect } = require("node:util");

const values = require("./values.cjs");
const { isDeliberate, isTheirs } = require("./deliberate.cjs");
const { plain, said } = require("./errors.cjs");
const { LearnerEnded, now } = require("./channel.cjs");

const ERRORS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError };
const BUILT_IN = { ...ERRORS, Array, Object, Map, Set, Date, Promise, Function, Number, String, Boolean, BigInt, Symbol, RegExp };
const soon = setImmediate; // tests may mock it
const OUTPUT_MOST = 64 * 1024;
const OBJECTS_MOST = 10_000; // in one answer: what stands for them takes more than an answer does
const ERRORS_MOST = 1000; // classes of errors of one process, of which each is a real one here
const references = new WeakMap(); // of what stands for something of the learner's
const inert = new Map(); // of each built-in type, what tests get for it
const meant = new WeakMap(); // and the other way round
const SYMBOLS = new Map([
    [Symbol.iterator, "iterator"],
    [Symbol.asyncIterator, "asyncIterator"],
]);

// The learner's process, as tests reach it.
class Learner {
    constructor(channel, objects) {
        this.channel = channel;
        this.objects = new Set(objects); // classes whose instances tests may compute with
        this.collecting = true;
        this.setters = []; // of the names that modules of tests have imported
        this._functions = [];
        this._wrong = []; // in functions of the test's, during this request
        this._errors = new Map();
        this._errorsOf = 0;
        this._objectsLeft = 0;
        this._pumpUntil = 0;
        this._pumping = 0; // for which process
        this.onFailure = () => {}; // told what went wrong in a function of the test's: its caller may catch it
        this.onSilence = () => {}; // told when a function of the test's is not called any more
    }

    request(what, reference, args = [], { made = false, self = undefined, names = undefined } = {}) {
        if (this.collecting) {
            throw new Error(
                "tests are being collected, which happens without the learner's code: use it in tests and hooks only",
            );
        }
        if ("o" in reference && reference.of !== this.channel.number) {
            throw new Error(
                'this object was made for another test, whose process is gone: make it in the test or in beforeEach, or say fresh = "file" in task.toml',
            );
        }
        const before = this._functions.length;
        const request = { do: what, on: sent(reference), args: args.map((each) => this.encode(each)) };
        if (self !== undefined) request.self = this.encode(self);
        if (names !== undefined) request.names = names;
        if (this._functions.length > before) this._pump();
        if (what !== "turn") this._pumpUntil = now() + 1000 * this.channel.callSeconds;
        return this._hearing(what, () => {
            const answer = this.channel.ask(request, (message) => this._onBack(message));
            this._objectsLeft = OBJECTS_MOST;
            try {
                return this._taken(answer, args, made);
            } catch (error) {
                if (error instanceof values.Unfit) return this.channel.fail(`its answer is no value: ${error.message}`);
                throw error;
            }
        });
    }

    // What goes wrong meanwhile in functions of the test's is told, but for what comes back to the test.
    _hearing(what, work) {
        const before = this._wrong;
        const wrong = (this._wrong = []);
        let back = {};
        try {
            return work();
        } catch (error) {
            if (error instanceof Error && what !== "turn") back = told(error); // nobody hears of a turn's
            throw error;
        } finally {
            this._wrong = before;
            const swallowed = wrong.find((each) => told(each).name !== back.name || told(each).text !== back.text);
            if (swallowed !== undefined) this.onFailure(swallowed);
        }
    }

    _taken(answer, args, made) {
        if (typeof answer.out === "string" && answer.out) process.stdout.write(answer.out.slice(0, OUTPUT_MOST));
        if (Object.hasOwn(answer, "raised")) throw this._raised(answer.raised);
        if (!Object.hasOwn(answer, "value")) {
            throw new TypeError(`what the learner's code gave can't be carried: ${inspect(answer.unfit)}`);
        }
        if (Object.hasOwn(answer, "args")) this._update(args, answer.args);
        return this.decode(answer.value, made);
    }

    // Change what the learner's code has changed in place.
    _update(args, after) {
        if (!Array.isArray(after) || after.length !== args.length) throw new values.Unfit("these are no arguments");
        args.forEach((own, at) => {
            if (own === null || typeof own !== "object" || references.has(own)) return;
            const changed = this.decode(after[at], false);
            if (changed === null || typeof changed !== "object" || references.has(changed)) return;
            if (Object.getPrototypeOf(own) === Object.getPrototypeOf(changed)) replaceContent(own, changed);
        });
    }

    // --- calls of the test's own functions -----------------------------------------------------

    _onBack(message) {
        const called = Object.hasOwn(this._functions, message.back) ? this._functions[message.back] : undefined;
        if (!Number.isSafeInteger(message.back) || called === undefined || !Array.isArray(message.args)) {
            return this.channel.fail("it called something that is no function");
        }
        let args;
        this._objectsLeft = OBJECTS_MOST;
        try {
            args = message.args.map((each) => this.decode(each, false));
        } catch (error) {
            return this.channel.fail(`it called with what is no value: ${error.message}`);
        }
        try {
            return { do: "return", value: this.encode(called(...args)) };
        } catch (error) {
            if (error instanceof LearnerEnded) throw error;
            if (error instanceof AssertionError) this.onFailure(error);
            else if (!isDeliberate(error)) this._wrong.push(error instanceof Error ? error : plain(error));
            return { do: "raise", ...told(error instanceof Error ? error : plain(error)) };
        }
    }

    // Somebody there has a function of the test's, and may call it later: let time go on there, too.
    _pump() {
        const number = this.channel.number + (this.channel.open ? 0 : 1);
        if (this._pumping === number) return;
        this._pumping = number;
        const turn = () => {
            const same = this.channel.open && this.channel.number === number;
            if (!same || !this._turned()) {
                if (this._pumping === number) this._pumping = 0;
                if (same) this.onSilence();
                return;
            }
            soon(turn);
        };
        soon(turn);
    }

    _turned() {
        if (now() > this._pumpUntil) return false;
        try {
            this.request("turn", { p: [] });
        } catch {
            return false;
        }
        return true;
    }

    // --- values --------------------------------------------------------------------------------

    encode(value) {
        return values.encode(value, (each) => this._opaque(each));
    }

    _opaque(value) {
        const reference = references.get(value);
        if (reference) return sent(reference);
        if (meant.has(value)) value = meant.get(value);
        if (Object.hasOwn(BUILT_IN, value?.name ?? "") && BUILT_IN[value.name] === value) {
            return { o: -1, builtin: value.name };
        }
        if (typeof value === "function") {
            this._functions.push(value);
            return { o: 0, back: this._functions.length - 1 };
        }
        throw new TypeError(
            `${inspect(value, { depth: 0 })} can't be given to the learner's code, which runs elsewhere: give it numbers, texts, arrays, plain objects, functions, and objects of its own classes`,
        );
    }

    // What is `made` by a declared class is the value itself, and nothing that is in it.
    decode(data, made) {
        return values.decode(data, (each) => this._known(each, made && each === data));
    }

    _known(data, made) {
        this._objectsLeft -= 1;
        if (this._objectsLeft < 0) throw new values.Unfit(`it holds more than ${OBJECTS_MOST} objects`);
        if (Object.hasOwn(data, "builtin")) {
            if (!Object.hasOwn(BUILT_IN, data.builtin)) throw new values.Unfit("this is no type");
            return inertOf(data.builtin);
        }
        const { o: number, n: name } = data;
        if (!Number.isSafeInteger(number) || typeof name !== "string") throw new values.Unfit("this is no object");
        const reference = { o: number, of: this.channel.number, name };
        if (data.error !== undefined) return this._error(data);
        if (data.promise === true) return this._promise(reference);
        return stand(this, reference, { callable: data.function === true, made });
    }

    // Asked for as soon as the test waits for anything, so that it may call other things before.
    _promise(reference) {
        return new Promise((resolve, reject) => {
            queueMicrotask(() => {
                try {
                    resolve(this.request("await", reference));
                } catch (error) {
                    reject(error);
                }
            });
        });
    }

    // A class of errors: here it must be a real one, to be caught and expected.
    _error(data) {
        if (this._errorsOf !== this.channel.number) {
            this._errors.clear();
            this._errorsOf = this.channel.number;
        }
        if (!this._errors.has(data.o)) {
            if (this._errors.size >= ERRORS_MOST) throw new values.Unfit("too many classes of errors");
            const above = this._errorClass(data.error);
            const made = class extends above {};
            Object.defineProperty(made, "name", { value: data.n });
            references.set(made, { o: data.o, of: this.channel.number, name: data.n });
            this._errors.set(data.o, made);
        }
        return this._errors.get(data.o);
    }

    _errorClass(data, depth = 0) {
        if (data === null || typeof data !== "object" || depth > 8) return Error;
        if (Object.hasOwn(data, "builtin")) return Object.hasOwn(ERRORS, data.builtin) ? ERRORS[data.builtin] : Error;
        if (!Number.isSafeInteger(data.o) || typeof data.n !== "string" || data.error === undefined) return Error;
        return this._error(data);
    }

    _raised(data) {
        if (data === null || typeof data !== "object") throw new values.Unfit("this is no error");
        if (Object.hasOwn(data, "value")) return this.decode(data.value, false);
        const kind = this._errorClass(data.class);
        const error = new kind(String(data.message));
        isTheirs(error);
        for (const [name, each] of Object.entries(this.decode({ d: data.more ?? [] }, false))) {
            Object.defineProperty(error, name, { value: each, enumerable: true, writable: true, configurable: true });
        }
        if (typeof data.name === "string" && data.name !== error.name) {
            Object.defineProperty(error, "name", { value: data.name, writable: true, configurable: true });
        }
        return error;
    }

    // --- names that modules of tests have imported ---------------------------------------------

    // Constants must be real values while a test runs; each process gives them anew.
    bind() {
        for (const { file, names, set } of this.setters) {
            for (const name of names) set(name, moduleOf(this, file)[name]);
            let found = [];
            try {
                found = this.request("names", { p: [file] }, [], { names });
            } catch (error) {
                if (error instanceof LearnerEnded) return;
            }
            if (!Array.isArray(found)) continue;
            for (const each of found) {
                if (!Array.isArray(each) || !names.includes(each[0])) continue;
                const [name, value] = each;
                if (value === null || (typeof value !== "object" && typeof value !== "function")) set(name, value);
            }
        }
    }
}

// An error of the test's own code, as the learner's gets it.
function told(error) {
    const name = said(() => String(error.name));
    return { name: Object.hasOwn(ERRORS, name) ? name : "Error", text: said(() => String(error.message)).slice(0, 1000) };
}

function sent(reference) {
    return "p" in reference ? { p: reference.p } : { o: reference.o };
}

function replaceContent(own, changed) {
    if (Array.isArray(own)) {
        own.length = 0;
        for (const each of changed) own.push(each);
    } else if (own instanceof Map) {
        own.clear();
        for (const [key, each] of changed) own.set(key, each);
    } else if (own instanceof Set) {
        own.clear();
        for (const each of changed) own.add(each);
    } else if (own instanceof Uint8Array) {
        own.set(changed.subarray(0, own.length));
    } else if (!(own instanceof Date)) {
        for (const name of Object.keys(own)) if (!Object.hasOwn(changed, name)) delete own[name];
        for (const [name, value] of Object.entries(changed)) {
            Object.defineProperty(own, name, { value, enumerable: true, writable: true, configurable: true });
        }
    }
}

// Something of the learner's: a module, a function, a class, or an object of one.
//
// Properties and calls are the learner's. To compute with it, or to take it for a plain value, is for
// objects of classes that the task declares: an object that is handed back in place of a number must
// not pass for one, and say something else each time.
function stand(learner, reference, { callable = true, made = false } = {}) {
    const target = callable ? function () {} : Object.create(null);
    const stays = (what) => () => {
        throw new TypeError(`${what} of the learner's ${reference.name ?? "object"} can't be had: compare what its properties and methods give`);
    };
    const path = reference.p?.join(".").replace(/\.[cm]?js(?=\.|$)/, "");
    const proxy = new Proxy(target, {
        get: (_, name) => {
            if (typeof name === "symbol") return symbolOf(learner, reference, name, made);
            if (name === "prototype" && callable) return target.prototype;
            if (learner.collecting && reference.p?.length === 1) return ofModule(learner, reference, name);
            return learner.request("get", reference, [name]);
        },
        set: (_, name, value) => learner.request("set", reference, [String(name), value]) === true,
        has: (_, name) => typeof name === "string" && learner.request("has", reference, [name]) === true,
        deleteProperty: (_, name) => learner.request("delete", reference, [String(name)]) === true,
        apply: (_, self, args) => {
            const own = references.has(self) ? self : undefined;
            return learner.request("call", reference, args, { self: own });
        },
        construct: (_, args) => made_(learner.request("new", reference, args, { made: learner.objects.has(path) })),
        getPrototypeOf: () => null,
        setPrototypeOf: stays("the prototype"),
        ownKeys: stays("the names"),
        getOwnPropertyDescriptor: stays("the properties"),
        defineProperty: stays("the properties"),
        preventExtensions: stays("the state"),
    });
    references.set(proxy, reference);
    return proxy;
}

function made_(value) {
    if (value === null || (typeof value !== "object" && typeof value !== "function")) {
        throw new TypeError("the learner's class did not make an object");
    }
    return value;
}

function ofModule(learner, reference, name) {
    if (name === "then" || name === "__esModule") return undefined;
    return stand(learner, { p: [...reference.p, name], name });
}

function symbolOf(learner, reference, name, made) {
    if (SYMBOLS.has(name)) return () => learner.request(SYMBOLS.get(name), reference);
    if (name === Symbol.hasInstance) {
        return (other) => {
            const own = references.get(other) ?? references.get(other?.constructor);
            if (!own) return false;
            if (references.has(other)) return learner.request("instanceof", reference, [other]) === true;
            return isErrorOf(learner, reference, other);
        };
    }
    if (name !== Symbol.toPrimitive) return undefined;
    return (hint) => {
        if (made) return learner.request("primitive", reference, [hint]);
        throw new TypeError(
            `the learner's code gave an object (${reference.name}) here; if tests are to compute with it, declare its class in task.toml: objects = ["….${reference.name}"]`,
        );
    };
}

// An error that was made here from what was thrown there; its class, or one above it, is meant.
function isErrorOf(learner, reference, error) {
    const found = learner.request("value", reference);
    return typeof found === "function" && !references.get(found)?.p && error instanceof realOf(found);
}

function realOf(found) {
    const real = meant.get(found) ?? found;
    return Error.isPrototypeOf(real) || real === Error ? real : class {};
}

// A built-in type that the learner's code names. Nobody may call it here: `Function` would run a
// text of theirs where the tests are, and others would go on without end as somebody's `next`.
function inertOf(name) {
    if (!inert.has(name)) {
        const real = BUILT_IN[name];
        const never = () => {
            throw new TypeError(`the learner's code gave ${name} itself here, which tests can't call`);
        };
        const known = { name, prototype: real.prototype, [Symbol.hasInstance]: (other) => other instanceof real };
        const stands = new Proxy(function () {}, {
            get: (_, key) => (Object.hasOwn(known, key) ? known[key] : undefined),
            apply: never,
            construct: never,
            set: never,
            defineProperty: never,
            deleteProperty: never,
            getPrototypeOf: () => null,
        });
        inert.set(name, stands);
        meant.set(stands, real);
    }
    return inert.get(name);
}

function moduleOf(learner, file) {
    return new Proxy({}, { get: (_, name) => stand(learner, { p: [file, name], name }) });
}

module.exports = { Learner, stand };
