import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Sends requests as Java does by default, with an upgrade to HTTP/2, and prints their statuses. */
public class Client {
    private static final String ORDER = """
            {"items": [{"product_id": "sku-1", "quantity": 2, "unit_amount": 1499},
                       {"product_id": "discount", "quantity": 1, "unit_amount": -550}], "currency": "EUR"}""";

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        HttpClient client = HttpClient.newHttpClient();
        StringBuilder seen = new StringBuilder();
        // Several threads share connections, which Java keeps open by default.
        Set<String> statuses = ConcurrentHashMap.newKeySet();
        Thread[] threads = new Thread[4];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                for (int j = 0; j < 100; j++) {
                    try {
                        statuses.add(post(client, url + "/api/v1/orders", "application/json", ORDER));
                    } catch (Exception error) {
                        statuses.add(error + " ");
                    }
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        statuses.forEach(seen::append);
        String large = "x".repeat(200_000);
        String huge = "x".repeat(8 << 20);
        seen.append(post(client, url + "/api/v1/orders", "application/json", large));
        seen.append(post(client, url + "/api/v1/orders", "application/json", huge));
        seen.append(post(client, url + "/api/v1/orders", "text/plain", huge));
        seen.append(post(client, url + "/api/v1/orders", "application/json", "{}"));
        seen.append(post(client, url + "/nope", "application/json", large));
        seen.append(post(client, url + "/api/v1/orders", "application/json", ORDER));
        System.out.println(seen.toString().trim());
        System.exit(0);
    }

    private static String post(HttpClient client, String url, String type, String body)
            throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                .header("Content-Type", type)
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode() + " ";
    }
}
