(function () {
  "use strict";
  var sizes = document.getElementById("frames").dataset;
  var side = parseFloat(sizes.side), pixels = parseFloat(sizes.pixels), letter = parseFloat(sizes.letter);
  var frames = Array.prototype.slice.call(document.querySelectorAll(".f"));
  function num(f, k) { return parseFloat(f.getAttribute("data-" + k)); }
  function fit(name, width) {
    var room = Math.floor((width - 6) / letter);
    return name.length <= room ? name : room >= 4 ? name.slice(0, room - 1) + "\u2026" : "";
  }
  function zoom(to) {
    var s = num(to, "s"), w = num(to, "w"), d = num(to, "d"), eps = w * 1e-6;
    frames.forEach(function (f) {
      var fs = num(f, "s"), fw = num(f, "w"), fd = num(f, "d");
      var above = fd < d && fs <= s + eps && fs + fw >= s + w - eps;
      var inside = fd >= d && fs >= s - eps && fs + fw <= s + w + eps;
      f.classList.toggle("x", !above && !inside);
      f.classList.toggle("p", above);
      if (!above && !inside) return;
      var x = above ? side : side + (fs - s) / w * pixels, width = above ? pixels : fw / w * pixels;
      var box = f.querySelector("rect"), text = f.querySelector("text");
      box.setAttribute("x", x); box.setAttribute("width", width > 2 ? width - 0.5 : width);
      text.setAttribute("x", x + 3); text.textContent = fit(f.getAttribute("data-n"), width);
    });
    document.getElementById("reset").classList.toggle("x", d === 0);
  }
  function search() {
    var wanted = window.prompt("Mark frames whose name matches (regular expression):", "");
    if (wanted === null) return;
    var test;
    try { test = new RegExp(wanted); } catch (error) { window.alert(error.message); return; }
    var found = [];
    frames.forEach(function (f) {
      var hit = wanted !== "" && test.test(f.getAttribute("data-n"));
      f.classList.toggle("m", hit);
      if (hit) found.push([num(f, "s"), num(f, "s") + num(f, "w")]);
    });
    found.sort(function (a, b) { return a[0] - b[0]; });
    var sum = 0, end = 0;
    found.forEach(function (r) { sum += Math.max(0, r[1] - Math.max(end, r[0])); end = Math.max(end, r[1]); });
    document.getElementById("found").textContent = wanted === "" ? "" : "matched: " + (100 * sum).toFixed(1) + "%";
  }
  frames.forEach(function (f) { f.addEventListener("click", function () { zoom(f); }); });
  document.getElementById("reset").addEventListener("click", function () { zoom(frames[0]); });
  document.getElementById("search").addEventListener("click", search);
  window.addEventListener("keydown", function (event) {
    if (event.key === "Escape" && frames.length) zoom(frames[0]);
    if ((event.ctrlKey || event.metaKey) && event.key === "f") { event.preventDefault(); search(); }
  });
})();
