// Keeps the page live. Everything the server sends as HTML was escaped by its
// template; log lines are put in as text.
"use strict";

const state = document.getElementById("state");
const link = document.getElementById("link");
const log = document.getElementById("log");
const mostLines = 5000;

const events = new EventSource("events" + location.search);
events.onopen = () => { link.textContent = "live"; };
events.onerror = () => { link.textContent = "connection lost, retrying"; };
events.addEventListener("state", (event) => {
  const focused = document.activeElement && document.activeElement.id;
  state.innerHTML = JSON.parse(event.data);
  if (focused) document.getElementById(focused)?.focus();
});

if (log) {
  const lines = new EventSource("log?run=" + encodeURIComponent(log.dataset.run) + "&from=" + log.dataset.next);
  lines.addEventListener("lines", (event) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    for (const line of JSON.parse(event.data)) {
      const row = document.createElement("span");
      const time = document.createElement("time");
      row.className = line.Stream === "stderr" ? "stderr" : "stdout";
      time.textContent = line.Time.slice(11, 23);
      row.append(time, line.Text);
      log.append(row);
    }
    while (log.childElementCount > mostLines) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  log.scrollTop = log.scrollHeight;
}
