// Errors as node:test may see them: of one that is the learner's, each look could end their process,
// or take as long as a call may take.
"use strict";

const { inspect } = require("node:util");

function plain(error) {
    const told = new Error(said(() => String(error instanceof Error ? error.message : inspect(error))));
    Object.defineProperty(told, "stack", { value: said(() => inspect(error)) });
    return told;
}

function said(work) {
    try {
        return work();
    } catch {
        return "an error that can't be told";
    }
}

module.exports = { plain, said };
