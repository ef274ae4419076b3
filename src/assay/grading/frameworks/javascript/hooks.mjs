// Tests get what collects them in place of node:test.

let ours = "";

export function initialize(url) {
    ours = url;
}

export async function resolve(specifier, context, next) {
    const own = context.parentURL?.includes("/.assay/");
    return specifier === "node:test" && !own ? { url: ours, shortCircuit: true } : next(specifier, context);
}
