// node:test as tests see it: they are collected first, without the learner's code, and then run one
// after the other by node:test itself, each with the hooks around it.
"use strict";

const real = require("node:test");

const { plain } = require("./errors.cjs");

const root = newSuite("", {}, null);
let current = root;
let failed = null; // of the callbacks of `describe`, what the first one has thrown
const pending = [];

function newSuite(name, options, parent) {
    return { name, options, parent, children: [], before: [], after: [], beforeEach: [], afterEach: [], begun: null };
}

function given(name, options, fn) {
    if (typeof name === "function") [name, options, fn] = [name.name, {}, name];
    else if (name !== null && typeof name === "object") [name, options, fn] = [options?.name ?? "", name, options];
    else if (typeof options === "function") [options, fn] = [{}, options];
    return { name: String(name || fn?.name || "<anonymous>"), options: options ?? {}, fn };
}

function within(suite, work) {
    const before = current;
    current = suite;
    try {
        return work();
    } finally {
        current = before;
    }
}

function variants(make) {
    const plain = (...args) => make(given(...args));
    for (const option of ["skip", "todo", "only"]) {
        plain[option] = (...args) => {
            const what = given(...args);
            return make({ ...what, options: { ...what.options, [option]: true } });
        };
    }
    return plain;
}

const test = variants(({ name, options, fn }) => {
    current.children.push({ name, options, fn, parent: current, file: module.exports.file });
    return Promise.resolve();
});

const describe = variants(({ name, options, fn }) => {
    const suite = newSuite(name, options, current);
    current.children.push(suite);
    const made = within(suite, () => fn?.());
    if (typeof made?.then === "function") {
        pending.push(made);
        failed ??= new Error("a suite's function is not async: write its tests without await between them");
    }
    return Promise.resolve();
});

const hook = (kind) => (fn) => void current[kind].push(fn);

// All tests, in order, with the names of their suites.
function leaves(suite = root, above = []) {
    return suite.children.flatMap((each) =>
        each.children ? leaves(each, [...above, each.name]) : [{ ...each, path: [...above, each.name] }],
    );
}

function suitesOf(leaf) {
    const found = [];
    for (let each = leaf.parent; each; each = each.parent) found.unshift(each);
    return found;
}

function optionsOf(leaf) {
    const all = Object.assign({}, ...suitesOf(leaf).map((each) => each.options), leaf.options);
    const { skip, todo, timeout, plan } = all;
    return Object.fromEntries(Object.entries({ skip, todo, timeout, plan }).filter(([, each]) => each !== undefined));
}

// Run one, with hooks; `last` says of which suites nothing comes after it.
async function run(leaf, context, last) {
    guard(context);
    const suites = suitesOf(leaf);
    for (const suite of suites) {
        suite.begun ??= all(suite.before, context);
        await suite.begun;
    }
    const errors = [];
    await attempt(errors, async () => {
        for (const suite of suites) await all(suite.beforeEach, context);
        await call(leaf.fn, context);
    });
    for (const suite of [...suites].reverse()) {
        await attempt(errors, () => all(suite.afterEach, context));
        if (last.has(suite)) await attempt(errors, () => all(suite.after, context));
    }
    if (errors.length) throw errors[0].error;
}

async function attempt(errors, work) {
    try {
        await work();
    } catch (error) {
        errors.push({ error });
    }
}

async function all(hooks, context) {
    for (const each of hooks) await call(each, context);
}

function call(fn, context) {
    if (fn === undefined) return undefined;
    if (fn.length < 2) return fn.call(context, context);
    return new Promise((resolve, reject) => {
        fn.call(context, context, (error) => (error ? reject(error) : resolve()));
    });
}

// What subtests and hooks of a context throw is caught by node:test itself, which then looks at it.
const WITH_FUNCTIONS = ["test", "before", "after", "beforeEach", "afterEach"];
const guarded = new WeakSet();

function guard(context) {
    if (guarded.has(context)) return;
    guarded.add(context);
    for (const name of WITH_FUNCTIONS) {
        if (typeof context[name] === "function") Object.defineProperty(context, name, { value: safely(context, context[name]) });
    }
}

// The same method, and its variants (`t.test.todo`), given functions that throw errors of ours only.
function safely(context, method) {
    const made = (...args) => method.apply(context, args.map((each) => (typeof each === "function" ? safe(each) : each)));
    for (const [name, variant] of Object.entries(method)) {
        if (typeof variant === "function") made[name] = safely(context, variant);
    }
    return made;
}

function safe(fn) {
    const run = async (context) => {
        if (context !== null && typeof context === "object") guard(context);
        try {
            return await call(fn, context);
        } catch (error) {
            throw plain(error);
        }
    };
    return Object.defineProperty(run, "name", { value: fn.name });
}

// Of which suites is this the last test?
function lastOf(all_, at) {
    const rest = new Set(all_.slice(at + 1).flatMap(suitesOf));
    return new Set(suitesOf(all_[at]).filter((suite) => !rest.has(suite)));
}

module.exports = test;
module.exports.file = "";
Object.assign(module.exports, {
    test, it: test, describe, suite: describe, mock: real.mock,
    before: hook("before"), after: hook("after"), beforeEach: hook("beforeEach"), afterEach: hook("afterEach"),
    collect: { leaves, optionsOf, run, lastOf, fault: () => failed, root },
});
// For `import { … } from "node:test"`.
0 && (module.exports = { test, it, describe, suite, mock, before, after, beforeEach, afterEach });
