document.body.textContent = "trio-logs"
