// Swagger UI over the gateway's document, which is asked for with the key that "Authorize" is given.
const KEY = "key";

// What is shown in place of the document; it has the same "Authorize".
function instead(description) {
  return JSON.stringify({
    openapi: "3.1.0",
    info: { title: "Feature gateway", version: "", description },
    paths: {},
    components: { securitySchemes: { [KEY]: { type: "http", scheme: "bearer" } } },
  });
}

async function load(key) {
  let text;
  try {
    const headers = key ? { Authorization: latin1(`Bearer ${key}`) } : {};
    const response = await fetch("openapi.json", { headers, cache: "no-store", redirect: "error" });
    if (response.ok) text = await response.text();
    else if (response.status !== 401) text = instead(`The gateway answers with ${response.status}. Load the page again.`);
    else if (key) text = instead("This key is not valid. Press Authorize, log out, and give another one.");
    else text = instead("This gateway answers only those who have a key. Press Authorize and give yours.");
  } catch {
    text = instead("The gateway does not answer. Load the page again.");
  }
  ui.specActions.updateSpec(text);
}

// A header holds bytes; the gateway takes a key as UTF-8.
function latin1(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

// An answer as it came, with line breaks where the browser can set them and keep each number's digits.
function pretty(content) {
  try {
    const exact = (_, value, context) => (typeof value === "number" ? JSON.rawJSON(context.source) : value);
    return JSON.stringify(JSON.parse(content, exact), null, 2);
  } catch {
    return content;
  }
}

const ui = SwaggerUIBundle({
  dom_id: "#calls",
  validatorUrl: null,
  requestInterceptor: (request) => {
    const { Authorization } = request.headers;
    if (Authorization) request.headers.Authorization = latin1(Authorization);
    return request;
  },
  plugins: [
    ({ React }) => ({
      wrapComponents: {
        // Text, because Swagger UI rounds the whole numbers of what it takes for JSON.
        responseBody: (Body) => (shown) =>
          React.createElement(Body, { ...shown, content: pretty(shown.content), contentType: "text/plain" }),
      },
      statePlugins: {
        auth: {
          wrapActions: {
            authorize: (authorize) => (given) => {
              load(given[KEY].value);
              return authorize(given);
            },
            logout: (logout) => (names) => {
              load();
              return logout(names);
            },
          },
        },
      },
    }),
  ],
});
load();
