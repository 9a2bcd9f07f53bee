// The reference page at /docs in a real browser: it renders, sends requests only to this server, takes an API key, and
// places a basket with it. SERVER is the server's URL, KEY an API key that may read and create orders, ARTEFACTS
// the directory of the screenshot.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";

const server = process.env.SERVER;
const key = process.env.KEY;

async function orders() {
  const response = await fetch(`${server}/api/v1/orders`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(response.status, 200);
  return response.json();
}

test("a basket can be placed from /docs with an API key", async () => {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
    const problems = [];
    const hosts = new Set();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) problems.push(message.text());
    });
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol !== "data:" && url.protocol !== "blob:") hosts.add(url.origin);
    });

    const response = await page.goto(`${server}/docs`);
    const policy = response.headers()["content-security-policy"];
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval|\*/);
    await page.waitForSelector(".opblock-post");
    assert.equal(await page.title(), "order-service");
    assert.equal((await fetch(`${server}/api/v1/orders`)).status, 401);
    const before = await orders();

    await page.locator(".auth-wrapper button.authorize").click();
    const dialog = page.locator(".modal-ux");
    await dialog.locator("input").fill(key);
    await dialog.locator("button.authorize").click();
    await dialog.locator("button.btn-done").click();

    const operation = page.locator(".opblock-post", { hasText: "/api/v1/orders" }).first();
    await operation.locator(".opblock-summary").first().click();
    // The page proposes a basket with a discount, which can be sent as it is.
    const body = operation.locator("textarea.body-param__text");
    await body.waitFor();
    const basket = JSON.parse(await body.inputValue());
    assert(basket.items.length > 1 && basket.items.some((line) => line.unit_amount < 0), JSON.stringify(basket));
    // With the example key, a second run would be a replay.
    await operation.locator("input[placeholder*='Idempotency-Key']").fill("");
    const created = page.waitForResponse(
      (candidate) => candidate.url().endsWith("/api/v1/orders") && candidate.request().method() === "POST",
    );
    await operation.locator("button.execute").click();
    assert.equal((await created).status(), 201);
    await operation.locator(".live-responses-table .response-col_status", { hasText: "201" }).waitFor();
    await operation.scrollIntoViewIfNeeded();
    await page.screenshot({ path: `${process.env.ARTEFACTS}/docs.png` });

    const after = await orders();
    assert.equal(after.length, before.length + 1);
    assert.deepEqual(after[0].items, basket.items);
    const total = basket.items.reduce((sum, line) => sum + line.quantity * line.unit_amount, 0);
    assert.deepEqual([after[0].total_amount, after[0].currency], [total, basket.currency]);
    assert.deepEqual([...hosts], [new URL(server).origin]);
    assert.deepEqual(problems, []);
  } finally {
    await browser.close();
  }
});
