// Which errors a test's own code throws on purpose: the others are a test that went wrong.
"use strict";

const { AssertionError } = require("node:assert");
const { readFileSync } = require("node:fs");
const { sep } = require("node:path");
const { fileURLToPath } = require("node:url");

const FOLDER = process.cwd() + sep;
const CARRIED = FOLDER + ".assay" + sep;
const THROWN = /\bthrow\s+$/; // before what is thrown
const MADE = /^new\s+(\w+\.)*\w*(Error|Exception)\b/; // an error that may be thrown later
const theirs = new WeakSet(); // errors of the learner's, whose stack may be theirs as well
const sources = new Map();

// An error is deliberate if it is made in a teacher's file, by `throw new …` or `new …Error`, and
// asserts nothing. A learner's code may have the test's own code fail anywhere else, by a value of an
// odd type, say, so that it never comes to what it asserts.
function isDeliberate(error) {
    if (!(error instanceof Error) || error instanceof AssertionError || theirs.has(error)) return false;
    return places(error).some(([file, line, column], at) => {
        const text = lineOf(file, line);
        const made = THROWN.test(text.slice(0, column - 1)) || MADE.test(text.slice(column - 1));
        // Its class, if it is the test's own, calls the constructor above it.
        return made && places(error).slice(0, at).every(([, , , name]) => name.startsWith("new "));
    });
}

// Of its calls: file, line, column and name, from the innermost on; none if they can't be told for sure.
function places(error) {
    const { stack, message } = error;
    if (typeof stack !== "string" || typeof message !== "string") return [];
    const end = stack.indexOf(message) + message.length; // a message may look like calls
    if (end < message.length || stack.slice(0, end - message.length).includes("\n")) return [];
    return stack.slice(end).split("\n").slice(1).map(placeOf);
}

function placeOf(text) {
    const found = /^ {4}at (?:(.*) \()?(.+):(\d+):(\d+)\)?$/.exec(text);
    if (found === null) return ["", 0, 0, ""];
    const [, name = "", file, line, column] = found;
    return [file.startsWith("file:") ? fileURLToPath(file) : file, Number(line), Number(column), name];
}

function lineOf(file, line) {
    if (!file.startsWith(FOLDER) || file.startsWith(CARRIED)) return "";
    if (!sources.has(file)) sources.set(file, readFileSync(file, "utf8").split(/\r\n|[\n\r\u2028\u2029]/));
    return sources.get(file)[line - 1] ?? "";
}

module.exports = { isDeliberate, isTheirs: (error) => theirs.add(error) };
