import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/**
 * Sequential requests by the JDK's client as it is by default: with {@code Connection: Upgrade, HTTP2-Settings} over http,
 * with ALPN over https. Half of the bodies have a length, half come in chunks.
 *
 * <p>Posts URL COUNT: prints how many of them were answered as they should be.
 */
public final class Posts {
  private static final byte[] BODY =
      "{\"query\":\"what\",\"documents\":[\"one\",\"two\"]}".getBytes(StandardCharsets.UTF_8);

  public static void main(String[] args) throws Exception {
    System.setProperty("jdk.internal.httpclient.disableHostnameVerification", "true");
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(null, new TrustManager[] {new Anybody()}, new SecureRandom());
    HttpClient client = HttpClient.newBuilder().sslContext(tls).connectTimeout(Duration.ofSeconds(20)).build();
    int count = Integer.parseInt(args[1]);
    int answered = 0;
    for (int i = 0; i < count; i++) {
      // Without a length the client sends chunks.
      BodyPublisher body =
          i % 2 == 0
              ? BodyPublishers.ofByteArray(BODY)
              : BodyPublishers.fromPublisher(BodyPublishers.ofByteArray(BODY));
      HttpRequest request =
          HttpRequest.newBuilder(URI.create(args[0] + "/v1/rerank"))
              .header("Content-Type", "application/json")
              .timeout(Duration.ofSeconds(60))
              .POST(body)
              .build();
      try {
        HttpResponse<String> response = client.send(request, BodyHandlers.ofString());
        if (response.statusCode() == 200 && response.body().contains("relevance_score")) {
          answered++;
        } else {
          System.err.println(i + ": " + response.statusCode() + " " + response.body());
        }
      } catch (java.io.IOException lost) {
        System.err.println(i + ": " + lost);
      }
    }
    System.out.println(answered);
    System.exit(answered == count ? 0 : 1);
  }

  /** Takes every certificate: the server of a test has made its own. */
  private static final class Anybody extends X509ExtendedTrustManager {
    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type) {}

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}

    @Override
    public void checkClientTrusted(X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) {}

    @Override
    public void checkServerTrusted(X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) {}

    @Override
    public X509Certificate[] getAcceptedIssuers() {
      return new X509Certificate[0];
    }
  }
}
