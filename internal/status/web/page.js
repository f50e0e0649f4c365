// Keeps the page live. Everything the server sends was escaped by its template.
"use strict";

const state = document.getElementById("state");
const link = document.getElementById("link");

// span is a duration as people say it.
function span(seconds) {
  if (seconds < 60) return Math.floor(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h " + Math.floor(seconds / 60) % 60 + " min";
  return Math.floor(seconds / 86400) + " d " + Math.floor(seconds / 3600) % 24 + " h";
}

function tellAges() {
  const now = Date.now();
  for (const time of state.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const seconds = Math.max((now - at) / 1000, 0);
    if (at > now) time.textContent = "in " + span((at - now) / 1000);
    else if (time.closest(".due")) time.textContent = "now";
    else time.textContent = span(seconds) + (time.closest(".plain") ? "" : " ago");
    time.title = at.toLocaleString();
  }
}

const events = new EventSource("events");
events.onopen = () => { link.textContent = "live"; };
events.onerror = () => { link.textContent = "connection lost, retrying: what you see may be old"; };
events.addEventListener("state", (event) => {
  const focused = document.activeElement && document.activeElement.id;
  state.innerHTML = JSON.parse(event.data);
  if (focused) document.getElementById(focused)?.focus();
  tellAges();
});

tellAges();
setInterval(tellAges, 1000);
