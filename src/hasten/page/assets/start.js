// Comes last: reads the data and hands it to the page of its kind.

const data = JSON.parse(document.getElementById("data").textContent);
PAGES[data.kind](data);
document.documentElement.dataset.ready = "yes";
