// Runs tests of node:test, and tells results as its reporters hear of them.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import module, { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import real from "node:test";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

const require = createRequire(import.meta.url);
const { Channel } = require("./channel.cjs");
const { Learner, stand } = require("./proxies.cjs");
const framework = require("./framework.cjs");
const { plain, said } = require("./errors.cjs");

const TEXT_MOST = 8000;
const WORDS_MOST = 3000;
const HERE = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const RESERVED = new Set(
    "arguments await break case catch class const continue debugger default delete do else enum eval export extends false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield".split(" "),
);

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
// Standard output is the channel; what tests print goes elsewhere.
process.stdout.write = process.stderr.write.bind(process.stderr);
const channel = new Channel(plan.call_seconds);
const learner = new Learner(channel, plan.objects);
const soon = setImmediate; // tests may mock it
let finished = false;

// What nobody has caught fails the test that runs: node:test can't always tell whose it was. And it looks
// at what it hears of, so it is to see errors of ours only.
let uncaught = () => {};
const emit = process.emit;
process.emit = function (event, error, ...more) {
    if (event !== "uncaughtException" && event !== "unhandledRejection") return emit.call(this, event, error, ...more);
    const told = plain(error);
    uncaught(told);
    return emit.call(this, event, told, ...more);
};
process.on("exit", () => {
    if (finished) process.exitCode = 0;
    channel.tell("L", null); // the thread that reads would keep us waiting
});

// --- the learner's modules -------------------------------------------------------------------------

function isModule(file) {
    if (file.endsWith(".mjs")) return true;
    if (file.endsWith(".cjs")) return false;
    for (let folder = dirname(resolve(file)); ; folder = dirname(folder)) {
        const path = join(folder, "package.json");
        if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8")).type === "module";
        if (folder === dirname(folder)) return false;
    }
}

// What a test imports by name stands somewhere in a file of the task: which of these words are names
// of the learner's is nobody's to know yet.
function words(files) {
    const texts = files.map((file) => readFileSync(file, "utf8")).join("\n");
    const found = new Set(texts.match(/[A-Za-z_$][\w$]*/g));
    return [...found].filter((word) => !RESERVED.has(word)).slice(0, WORDS_MOST);
}

function standInOf(file, names) {
    const key = `Symbol.for("assay.learner")`;
    if (!isModule(file)) {
        const listed = names.filter((name) => name !== "__esModule");
        return `module.exports = globalThis[${key}].common(${JSON.stringify(file)});\n0 && (module.exports = { ${listed.join(", ")} });\n`;
    }
    const own = "assay_learner_";
    return [
        `const ${own} = globalThis[${key}].names(${JSON.stringify(file)}, ${JSON.stringify(["default", ...names])}, (name, value) => ${own}set[name]?.(value));`,
        ...names.map((name) => `export let ${name} = ${own}.${name};`),
        `let ${own}default = ${own}.default;`,
        `export { ${own}default as default };`,
        `const ${own}set = { default: (value) => { ${own}default = value; }, ${names.map((name) => `${name}: (value) => { ${name} = value; }`).join(", ")} };`,
    ].join("\n");
}

globalThis[Symbol.for("assay.learner")] = {
    common: (file) => stand(learner, { p: [file], name: file }),
    names: (file, names, set) => {
        learner.setters.push({ file, names, set });
        return Object.fromEntries(names.map((name) => [name, stand(learner, { p: [file, name], name })]));
    },
};

function putStandIns() {
    const names = words(plan.scripts);
    for (const file of plan.modules) {
        mkdirSync(dirname(resolve(file)), { recursive: true });
        writeFileSync(file, standInOf(file, names));
    }
}

// --- tests -----------------------------------------------------------------------------------------

function intercept() {
    if (module.register === undefined) throw new Error(`Node.js ${process.version} is too old: 18.19 or newer is needed`);
    const ours = pathToFileURL(join(HERE, "framework.cjs")).href;
    module.register(pathToFileURL(join(HERE, "hooks.mjs")).href, { data: ours });
    const load = module._load;
    module._load = function (request, parent, ...more) {
        const own = parent?.filename?.startsWith(HERE);
        return request === "node:test" && !own ? framework : load.call(this, request, parent, ...more);
    };
}

async function collect() {
    putStandIns();
    intercept();
    for (const file of plan.tests) {
        framework.file = file;
        await import(pathToFileURL(resolve(file)).href);
    }
    if (framework.collect.fault()) throw framework.collect.fault();
    return framework.collect.leaves().map((each) => ({ ...each, id: [each.file, ...each.path].join("::") }));
}

const waiting = new Map();
globalThis[Symbol.for("assay.events")] = ({ type, data }) => {
    if (data?.nesting === 0 && (type === "test:pass" || type === "test:fail")) waiting.get(data.name)?.({ type, data });
};

function judged({ type, data }, trouble) {
    if (trouble) return ["failed", trouble.message, trouble.stack];
    if (data.skip !== undefined && data.skip !== false) return ["skipped", ""];
    if (data.todo !== undefined && data.todo !== false) return ["skipped", "it is still to be done"];
    if (type === "test:pass") return ["passed", ""];
    const error = data.details?.error;
    const cause = error?.cause ?? error;
    return ["failed", said(() => String(cause instanceof Error ? cause.message : inspect(cause))), said(() => inspect(cause))];
}

async function runOne(leaf, last) {
    if (plan.fresh === "test" || runOne.file !== leaf.file || channel.broken) channel.close();
    runOne.file = leaf.file;
    const heard = new Promise((resolve) => waiting.set(leaf.id, resolve));
    const trouble = new Promise((_, reject) => {
        uncaught = learner.onFailure = reject;
    });
    const silence = new Promise((_, reject) => {
        learner.onSilence = () => reject(new Error("a function that the test gave away is not called"));
    });
    silence.catch(() => {}); // who does not wait for that function does not mind
    const known = trouble.catch((error) => error);
    real(leaf.id, framework.collect.optionsOf(leaf), (context) => {
        learner.bind();
        return Promise.race([framework.collect.run(leaf, context, last), trouble, silence]).catch((error) => {
            throw plain(error);
        });
    });
    const event = await heard;
    // What the test did not wait for may fail yet.
    await new Promise(soon);
    const [outcome, message, detail = ""] = judged(event, await Promise.race([known, null]));
    const result = {
        id: leaf.id, outcome, message: message.slice(0, TEXT_MOST), detail: detail.slice(-TEXT_MOST),
        broken: channel.broken, slow: channel.slow,
    };
    if (plan.fresh === "test" || channel.broken) channel.close();
    channel.tell("R", result);
}

async function main() {
    let leaves;
    try {
        leaves = await collect();
    } catch (error) {
        channel.tell("T", said(() => inspect(error)).slice(-TEXT_MOST));
        process.exit(1);
    }
    channel.tell("C", leaves.map((each) => each.id));
    learner.collecting = false;
    // Nothing is to happen between one test and the next, not even that there is nothing to do.
    const awake = setInterval(() => {}, 1000);
    for (const [at, leaf] of leaves.entries()) await runOne(leaf, framework.collect.lastOf(leaves, at));
    clearInterval(awake);
    channel.close();
    finished = true;
    channel.tell("F", null);
    process.exit(0);
}

await main();
