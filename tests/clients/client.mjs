// Sends requests with fetch and prints their statuses.
const [url] = process.argv.slice(2);
const order = JSON.stringify({
  items: [
    { product_id: "sku-1", quantity: 2, unit_amount: 1499 },
    { product_id: "discount", quantity: 1, unit_amount: -550 },
  ],
  currency: "EUR",
});
const seen = [];

async function post(path, type, body) {
  const response = await fetch(url + path, {
    method: "POST",
    headers: { "content-type": type },
    body,
  });
  await response.text();
  seen.push(response.status);
}

await post("/api/v1/orders", "application/json", order);
const large = "x".repeat(200_000);
const huge = "x".repeat(8 << 20);
await post("/api/v1/orders", "application/json", large);
await post("/api/v1/orders", "application/json", huge);
await post("/api/v1/orders", "text/plain", huge);
for (let i = 0; i < 5; i++) {
  await post("/api/v1/orders", "text/plain", huge);
  seen.pop();
}
await post("/api/v1/orders", "application/json", "{}");
await post("/nope", "application/json", large);
await post("/api/v1/orders", "application/json", order);
console.log(seen.join(" "));
process.exit(0);
