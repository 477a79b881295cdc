'use strict';
// The page is whole without this; it only keeps the live part of it fresh.
const EVERY = 5000;
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname, { headers: { accept: 'text/html' } });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('live');
    document.getElementById('live').replaceWith(fresh);
    document.body.classList.remove('stale');
  } catch {
    document.body.classList.add('stale');
  }
}
setInterval(refresh, EVERY);
