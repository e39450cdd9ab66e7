"use strict";
(() => {
  const seconds = Number(document.documentElement.dataset.refresh);
  if (!seconds) return;
  let lostAt = "";

  function tell(problem) {
    const note = document.getElementById("lost");
    if (!note) return;
    lostAt = problem ? lostAt || new Date().toLocaleTimeString() : "";
    note.hidden = !problem;
    note.textContent = problem ? `No answer since ${lostAt}, what is shown is old: ${problem}.` : "";
  }

  function show(fresh) {
    const live = document.getElementById("live");
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.replaceWith(document.adoptNode(fresh));
    if (focused) document.querySelector(`#live a[href="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
  }

  function isBeingRead() {
    const chosen = getSelection();
    const live = document.getElementById("live");
    return document.hidden || (chosen && !chosen.isCollapsed && live.contains(chosen.anchorNode));
  }

  function load() {
    if (isBeingRead()) return later();
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => {
      const fresh = request.response?.getElementById("live");
      // Another page stands here now: there is no operator that leads yet, or the queue is gone.
      if (fresh && request.response.title !== document.title) return location.reload();
      if (fresh) show(fresh);
      tell(fresh ? "" : `it answers ${request.status}`);
    };
    request.onerror = () => tell("it cannot be reached");
    request.ontimeout = () => tell("it takes too long");
    request.onloadend = later;
    request.send();
  }

  function later() {
    setTimeout(load, seconds * 1000);
  }

  later();
})();
