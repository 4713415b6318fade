// Loads the page; where a file of it could not be had, as when many functions start at once, tries again.
const KEY = "loads";
const MOST = 5;

try {
  await import("./app.js");
  sessionStorage.removeItem(KEY);
} catch (error) {
  const tries = Number(sessionStorage.getItem(KEY)) + 1;
  sessionStorage.setItem(KEY, String(tries));
  if (tries < MOST) setTimeout(() => location.reload(), 500 * tries);
  else {
    sessionStorage.removeItem(KEY);
    const place = document.getElementById("app");
    if (place) place.textContent = "The page could not be loaded. Reload it in a moment.";
  }
  throw error;
}

export {};
