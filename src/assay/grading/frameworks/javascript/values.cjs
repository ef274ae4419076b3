// Plain values as JSON. What comes from a learner's process builds plain values and nothing else.
//
// Finite numbers, texts, booleans, null and arrays are themselves; an object with one key is another
// type: {u: 0} undefined, {n: "NaN"} a number that JSON lacks, {i: digits} a bigint, {d: [[name,
// value], …]} an object, {m: [[key, value], …]} a Map, {s: […]} a Set, {t: milliseconds} a Date,
// {b: base64} a Buffer. With the key "o" or "p" it is something that stays where it is.
"use strict";

const { types } = require("node:util");

// Learner's code runs beside this in the student sandbox, and honest code may change prototypes.
const { isArray } = Array;
const { stringify, parse } = JSON;
const { hasOwn, getPrototypeOf, fromEntries, entries } = Object;

const MESSAGE_MOST = 1 << 20;
const DEPTH_MOST = 60;
const ODD_NUMBERS = { NaN, Infinity, "-Infinity": -Infinity, "-0": -0 };
const DIGITS_MOST = 10_000;

// By which an object could pass for another number each time it is asked.
const CONVERSIONS = ["valueOf", "toString"];

class Unfit extends Error {}

function dumps(message) {
    const text = Buffer.from(stringify(message));
    if (text.length > MESSAGE_MOST) {
        throw new Unfit(`the values have ${text.length} bytes, and at most ${MESSAGE_MOST} are carried`);
    }
    return text;
}

function loads(text) {
    try {
        return parse(text.toString("utf8"));
    } catch {
        throw new Unfit("a message is no JSON");
    }
}

// A value as JSON has it; `opaque` describes what is no plain value.
function encode(value, opaque, depth = 0) {
    if (depth > DEPTH_MOST) throw new Unfit(`values are nested more than ${DEPTH_MOST} deep`);
    const inner = (each) => encode(each, opaque, depth + 1);
    switch (typeof value) {
        case "string":
        case "boolean":
            return value;
        case "undefined":
            return { u: 0 };
        case "number":
            if (Number.isFinite(value) && !Object.is(value, -0)) return value;
            return { n: Object.is(value, -0) ? "-0" : String(value) };
        case "bigint":
            return { i: `${value}` };
        case "object":
            return value === null ? null : encodeObject(value, inner, opaque);
        default:
            return opaque(value);
    }
}

function encodeObject(value, inner, opaque) {
    if (types.isProxy(value)) return opaque(value);
    if (isArray(value)) return Array.from(value, inner);
    if (types.isMap(value)) {
        return { m: [...Map.prototype.entries.call(value)].map(([k, v]) => [inner(k), inner(v)]) };
    }
    if (types.isSet(value)) return { s: [...Set.prototype.values.call(value)].map(inner) };
    if (types.isDate(value)) return { t: inner(Date.prototype.getTime.call(value)) };
    if (types.isUint8Array(value)) return { b: Buffer.from(value).toString("base64") };
    const above = getPrototypeOf(value);
    if (above !== null && above !== Object.prototype) return opaque(value);
    if (CONVERSIONS.some((name) => hasOwn(value, name) && typeof value[name] === "function")) return opaque(value);
    return { d: entries(value).map(([name, each]) => [name, inner(each)]) };
}

// The value of hostile JSON; `known` finds what an object with "o" or "p" stands for.
function decode(data, known, depth = 0) {
    if (depth > DEPTH_MOST) throw new Unfit(`values are nested more than ${DEPTH_MOST} deep`);
    if (data === null || typeof data !== "object") return data;
    const inner = (each) => decode(each, known, depth + 1);
    if (isArray(data)) return data.map(inner);
    if (hasOwn(data, "o") || hasOwn(data, "p")) return known(data);
    const [kind, ...more] = Object.keys(data);
    if (more.length || kind === undefined || !hasOwn(DECODERS, kind)) throw new Unfit("this is no value");
    return DECODERS[kind](data[kind], inner);
}

const DECODERS = {
    u: () => undefined,
    n: (content) => {
        if (typeof content !== "string" || !hasOwn(ODD_NUMBERS, content)) throw new Unfit("this is no number");
        return ODD_NUMBERS[content];
    },
    i: (content) => {
        if (typeof content !== "string" || !/^-?[0-9]+$/.test(content) || content.length > DIGITS_MOST) {
            throw new Unfit("this is no number");
        }
        return BigInt(content);
    },
    // Defines properties, "__proto__" as well, and sets none.
    d: (content, inner) => {
        const made = pairs(content).map(([name, each]) => [text(name), inner(each)]);
        if (made.some(([name, each]) => CONVERSIONS.includes(name) && typeof each === "function")) {
            throw new Unfit("this is no plain object");
        }
        return fromEntries(made);
    },
    m: (content, inner) => new Map(pairs(content).map(([key, each]) => [inner(key), inner(each)])),
    s: (content, inner) => new Set(listed(content).map(inner)),
    t: (content, inner) => {
        const time = inner(content);
        if (typeof time !== "number") throw new Unfit("this is no time");
        return new Date(time);
    },
    b: (content) => Buffer.from(text(content), "base64"),
};

function listed(content) {
    if (!isArray(content)) throw new Unfit("this is no list");
    return content;
}

function pairs(content) {
    for (const each of listed(content)) {
        if (listed(each).length !== 2) throw new Unfit("this is no pair");
    }
    return content;
}

function text(content) {
    if (typeof content !== "string") throw new Unfit("this is no text");
    return content;
}

module.exports = { MESSAGE_MOST, Unfit, dumps, loads, encode, decode };
