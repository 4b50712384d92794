"use strict";

// Particles in motion: positions are int16 within the box, frame after frame, base64.
function play(root) {
  const film = JSON.parse(root.querySelector("script").textContent);
  const canvas = root.querySelector("canvas");
  const [button, slider, label] = ["button", "input", "output"].map((s) => root.querySelector(s));
  const pen = canvas.getContext("2d");
  const x = unpack(film.frames), data = unpack(film.data), last = film.steps.length - 1;
  const ground = new Image();
  const perSecond = Math.max(8, film.steps.length / 6);
  let timer = null;

  function unpack(text) {
    return new Int16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  }

  function dots(points, from, count, radius, color) {
    pen.fillStyle = color;
    for (let i = from; i < from + 2 * count; i += 2) {
      if (points[i] === -32768) continue; // outside the box
      const u = (points[i] + 32767) / 65534, v = 1 - (points[i + 1] + 32767) / 65534;
      pen.beginPath();
      pen.arc(u * canvas.width, v * canvas.height, radius, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  function show(k) {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (ground.complete && ground.naturalWidth) {
      pen.drawImage(ground, 0, 0, canvas.width, canvas.height);
    }
    dots(data, 0, data.length / 2, 4, "rgba(47,111,159,0.45)");
    dots(x, 2 * k * film.particles, film.particles, 3.5, "rgba(217,98,43,0.7)");
    slider.value = k;
    label.textContent = "step " + film.steps[k].toLocaleString("en");
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }

  function start() {
    stop(); // a click may come before the player is first seen: one timer, not two
    let k = Number(slider.value) >= last ? 0 : Number(slider.value);
    button.textContent = "Pause";
    timer = setInterval(() => {
      show(k);
      if (k++ >= last) stop();
    }, 1000 / perSecond);
  }

  button.addEventListener("click", () => (timer === null ? start() : stop()));
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  ground.addEventListener("load", () => show(Number(slider.value)));
  if (film.ground) ground.src = film.ground;
  show(last);

  // Once, when it comes into sight; not for those who asked for stillness.
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      start();
    }, { threshold: 0.6 });
    watch.observe(canvas);
  }
}

document.querySelectorAll(".player").forEach(play);
