// Starts Swagger UI on the page /docs. A file of its own: the page's policy allows no script inside the page.
"use strict";

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#operations",
  deepLinking: true,
  validatorUrl: null, // asks nobody else
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  presets: [SwaggerUIBundle.presets.apis],
});
