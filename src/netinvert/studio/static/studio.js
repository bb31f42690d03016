// What the page shows comes by one websocket, /live: a head of 4 bytes with its length, JSON, a picture.
// What goes back is a picture: a byte for its place (0: look, 1 to 3: the objects of Turn), then the file.
(() => {
  const known = {};
  const most = 16_000_000;
  let socket, camera, waiting = 0, folder = [], at = 0;
  const all = (name, key) => document.querySelectorAll(`[data-${name}="${CSS.escape(key)}"]`);

  function apply(key) {
    const { head, url } = known[key];
    if (url) all("image", key).forEach((one) => { if (one.src !== url) one.src = url; one.hidden = false; delete one.dataset.empty; });
    if (head.text !== undefined) all("text", key).forEach((one) => { one.textContent = head.text; });
    if (head.share !== undefined) all("share", key).forEach((one) => { one.style.width = `${100 * head.share}%`; });
    all("command", key).forEach((one) => { one.textContent = head.command || ""; one.hidden = !head.command; });
    if (key === "look-tiles") frame();
  }

  function arrived(event) {
    const view = new DataView(event.data);
    const size = view.getUint32(0);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, size)));
    if (head.key === "done") { if (head.text === "look") { waiting = 0; shoot(); } return; }
    const before = known[head.key] || { head: {} };
    if (head.text === null) delete head.text;
    let url = before.url;
    if (event.data.byteLength > 4 + size) {
      if (url) setTimeout(() => URL.revokeObjectURL(before.url), 500);
      url = URL.createObjectURL(new Blob([new Uint8Array(event.data, 4 + size)]));
    }
    known[head.key] = { head: { ...before.head, command: undefined, ...head }, url };
    apply(head.key);
  }

  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = arrived;
    socket.onopen = () => document.body.classList.remove("s-lost");
    socket.onclose = () => { document.body.classList.add("s-lost"); setTimeout(connect, 1000); };
  }

  function say(text) { all("text", "note").forEach((one) => { one.textContent = text; }); }

  async function send(place, blob) {
    if (blob.size > most) return say(`${blob.name || "This picture"} has more than 16 megabytes: make it smaller.`);
    const bytes = new Uint8Array(1 + blob.size);
    bytes[0] = place;
    bytes.set(new Uint8Array(await blob.arrayBuffer()), 1);
    if (socket.readyState === 1) socket.send(bytes);
  }

  // -- camera: a frame is sent when the last was shown -------------------------------------------------

  function shoot() {
    if (!camera || waiting > Date.now() - 3000) return;
    const { video, canvas } = camera;
    if (!video.videoWidth) return void setTimeout(shoot, 50);
    const side = Math.min(video.videoWidth, video.videoHeight);
    const left = (video.videoWidth - side) / 2, top = (video.videoHeight - side) / 2;
    canvas.getContext("2d").drawImage(video, left, top, side, side, 0, 0, canvas.width, canvas.height);
    waiting = Date.now();
    canvas.toBlob((blob) => blob && send(0, blob), "image/jpeg", 0.85);
  }

  async function film(on) {
    if (!on && camera) {
      camera.stream.getTracks().forEach((one) => one.stop());
      clearInterval(camera.timer);
      camera = undefined;
    } else if (on && !camera) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 }, audio: false });
        const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
        await video.play();
        const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
        camera = { stream, video, canvas, timer: setInterval(shoot, 1000) };
        shoot();
      } catch (error) {
        say(`There is no camera (${error.name}): browsers give it to localhost and to https alone.`);
        emitEvent("camera", false);
      }
    }
  }

  // -- pictures from files -------------------------------------------------------------------------------

  function pick(place, many) {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: "image/*", webkitdirectory: many });
    input.id = "s-file";
    input.hidden = true;
    input.onchange = () => {
      folder = [...input.files].filter((one) => one.type.startsWith("image/"));
      at = 0;
      if (folder.length) send(place, folder[0]);
      else say("There are no images here.");
      input.remove();
    };
    document.getElementById("s-file")?.remove();
    document.body.append(input);
    input.click();
  }

  function step(by) {
    if (!folder.length) return;
    at = (at + by + folder.length) % folder.length;
    send(0, folder[at]);
  }

  // -- units: a click, arrows, and the frame around the one that is chosen --------------------------------

  let unit = null;
  function frame() {
    const tiles = known["look-tiles"]?.head;
    if (!tiles) return;
    const { columns, count } = tiles, rows = Math.ceil(count / columns);
    document.querySelectorAll(".s-tiles").forEach((box) => {
      box.style.setProperty("--columns", columns);
      box.style.setProperty("--rows", rows);
      const mark = box.querySelector(".s-mark");
      mark.hidden = unit === null || unit >= count;
      Object.assign(mark.style, { left: `${100 * (unit % columns) / columns}%`, top: `${100 * Math.floor(unit / columns) / rows}%`,
        width: `${100 / columns}%`, height: `${100 / rows}%` });
    });
  }
  function choose(next) {
    const tiles = known["look-tiles"]?.head;
    if (!tiles || next < 0 || next >= tiles.count) return;
    unit = next;
    frame();
    emitEvent("unit", unit);
  }
  document.addEventListener("click", (event) => {
    const box = event.target.closest?.(".s-tiles");
    if (!box || !known["look-tiles"]) return;
    const { columns, count } = known["look-tiles"].head, area = box.getBoundingClientRect();
    const column = Math.floor((event.clientX - area.left) / area.width * columns);
    choose(column + columns * Math.floor((event.clientY - area.top) / area.height * Math.ceil(count / columns)));
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, [role=slider], [role=combobox], [role=listbox]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -(known["look-tiles"]?.head.columns || 1), ArrowDown: known["look-tiles"]?.head.columns || 1 }[event.key];
    const look = document.querySelector(".s-look")?.offsetParent;
    if (by && look) { event.preventDefault(); choose(unit === null ? 0 : unit + by); }
    else if ("123456".includes(event.key)) emitEvent("tab", Number(event.key));
    else if (event.key === "c" && look) emitEvent("camera", null);
    else if ((event.key === "n" || event.key === "p") && look) step(event.key === "n" ? 1 : -1);
  });

  // -- an object is turned by dragging its image ----------------------------------------------------------

  let drag;
  document.addEventListener("pointerdown", (event) => {
    if (event.target.closest?.(".s-turns")) { drag = { x: event.clientX, y: event.clientY, then: 0 }; event.preventDefault(); }
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag || Date.now() - drag.then < 50) return;
    emitEvent("drag", [event.clientX - drag.x, event.clientY - drag.y]);
    Object.assign(drag, { x: event.clientX, y: event.clientY, then: Date.now() });
  });
  document.addEventListener("pointerup", () => { drag = undefined; });

  const mounted = setInterval(() => {
    if (!document.querySelector("[data-ready]")) return;
    clearInterval(mounted);
    document.querySelectorAll("[data-unit]").forEach((one) => { unit = one.dataset.unit === "" ? null : Number(one.dataset.unit); });
    Object.keys(known).forEach(apply);
    document.body.dataset.mounted = "yes";
  }, 50);
  window.studio = { film, pick, step };
  connect();
})();
